std = "lua54"
max_line_length = 128
stds.jobrun = { read_globals = {
  "after", "all", "blocking", "channel", "clock", "cron", "current", "env", "event", "every", "exec", "executor", "ffmpeg", "fs", "http",
  "jobs", "json", "limit", "log", "map", "metrics", "monotonic", "mutex", "now", "on", "once", "pipeline", "probe", "queue", "race",
  "scope", "semaphore", "sh", "shield", "sleep", "spawn", "stage", "store", "timeout", "yield", "encode_segments",
} }
files["scripts"] = { std = "+jobrun", allow_defined_top = true, ignore = { "131" } }
files["tests"] = { std = "+jobrun", allow_defined_top = true, ignore = { "131" } }
-- An instance's methods see its fields by other names; os.exit is replaced by one that ends in order.
ignore = { "212/self" }
