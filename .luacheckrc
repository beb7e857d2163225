std = "lua54"
max_line_length = 110
files["scripts"] = { read_globals = {
  "jobrun", "every", "cron", "once", "after", "jobs", "spawn", "sleep", "yield", "timeout", "shield", "scope", "now", "blocking",
  "executor", "ffmpeg", "exec", "sh", "probe", "log", "on", "channel", "all", "race", "map", "semaphore", "mutex", "event", "env",
} }
files["tests"] = { std = "+luaunit", read_globals = { "jobrun" } }
stds.luaunit = { read_globals = { "luaunit" } }
