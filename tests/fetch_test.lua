-- http.fetch against servers on this machine: our own, and one of plain bytes where a server must misbehave.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local uv = require "luv"

local exec, fs, http, sleep, spawn = jobrun.exec, jobrun.fs, jobrun.http, jobrun.sleep, jobrun.spawn

local app = http.app()
local socket = os.tmpname()
os.remove(socket)
local server, base

-- No connection outlives its request, so that none is left behind by a test.
app.use(function(req, next)
  local r = next(req)
  r.headers.connection = "close"
  return r
end)
app.get("/hello", function() return "hello" end)
app.get("/json", function() return { a = { 1, 2 } } end)
app.get("/status/{n:int}", function(req) return req.params.n, "said" end)
local held = jobrun.event()
app.get("/slow", function()
  held:wait()
  return "slow"
end)

-- Lets the handlers of /slow end, whose clients have gone.
local function let_go()
  held:set()
  testing.wait_for(function() return server:connections() == 0 end)
  held = jobrun.event()
end

app.get("/to/{n:int}", function(req)
  return http.redirect(req.params.n > 0 and ("/to/%d"):format(req.params.n - 1) or "/hello")
end)
app.get("/big/{n:int}", function(req)
  return http.stream(function(write)
    for _ = 1, req.params.n do write(("x"):rep(10000)) end
  end)
end)
app.get("/drip", function()
  return http.stream(function(write)
    for i = 1, 3 do
      write("drop " .. i)
      sleep(0.01)
    end
  end)
end)
app.get("/cookies", function() return http.response(200, "", { ["set-cookie"] = { "a=1", "b=2" }, ["x-a"] = { "1", "2" } }) end)
for _, method in ipairs { "get", "post", "put", "patch", "delete" } do
  app[method]("/echo", function(req)
    return { method = req.method, target = req.target, headers = req.headers, body = req.raw_body }
  end)
end

-- The connections and descriptors both sides keep are there before the first test counts.
server = app.listen { 0, "unix:" .. socket }
base = ("http://127.0.0.1:%d"):format(server.port)
http.fetch(base .. "/hello")
http.fetch { url = "http://app/hello", socket = socket }

-- A server that says `bytes` to whoever comes, and ends there if `closes`.
local function say(bytes, closes)
  local listener, peers = uv.new_tcp(), {}
  listener:bind("127.0.0.1", 0)
  listener:listen(8, function()
    local peer = uv.new_tcp()
    peers[#peers + 1] = peer
    listener:accept(peer)
    peer:read_start(function(_, request)
      if not request then return peer:is_closing() or peer:close() end
      peer:write(bytes, function() if closes and not peer:is_closing() then peer:close() end end)
    end)
  end)
  local function close()
    listener:close()
    for _, peer in ipairs(peers) do if not peer:is_closing() then peer:close() end end
  end
  return ("http://127.0.0.1:%d/"):format(listener:getsockname().port), setmetatable({}, { __close = close })
end

local function failure(options)
  local ok, e = pcall(http.fetch, options)
  lu.assertFalse(ok)
  return e
end

-- ---- answers ------------------------------------------------------------------------------------

function test_a_url_gives_status_headers_and_body()
  local r = http.fetch(base .. "/hello")
  lu.assertEquals({ r.status, r.body, r.url, r:ok() }, { 200, "hello", base .. "/hello", true })
  lu.assertEquals(r.headers["content-type"], "text/plain; charset=utf-8")
  lu.assertEquals(http.fetch(base .. "/json"):json(), { a = { 1, 2 } })
end

function test_a_status_is_an_answer()
  local r = http.fetch(base .. "/status/503")
  lu.assertEquals({ r.status, r.body, r:ok() }, { 503, "said", false })
  lu.assertEquals(http.fetch(base .. "/nowhere").status, 404)
end

function test_what_is_sent_is_what_was_said()
  local headers = { ["X-One"] = "1", Empty = "" }
  local r = http.fetch { url = base .. "/echo", query = { b = { 1, 2 }, a = "x y&z" }, headers = headers }
  local sent = r:json()
  lu.assertEquals({ sent.method, sent.target, sent.headers["x-one"] }, { "GET", "/echo?a=x%20y%26z&b=1&b=2", "1" })
  lu.assertEquals(sent.headers.empty, "")
  sent = http.fetch({ url = base .. "/echo", json = { a = true } }):json()
  lu.assertEquals({ sent.method, sent.body, sent.headers["content-type"] }, { "POST", '{"a":true}', "application/json" })
  sent = http.fetch({ url = base .. "/echo", method = "PUT", body = "\0bytes" }):json()
  lu.assertEquals({ sent.method, sent.body, sent.headers["content-type"] }, { "PUT", "\0bytes", "application/octet-stream" })
  lu.assertEquals(http.fetch({ url = base .. "/echo", method = "DELETE" }):json().method, "DELETE")
  sent = http.fetch({ url = base .. "/echo", method = "POST" }):json()
  lu.assertEquals({ sent.method, sent.body }, { "POST", "" })
end

function test_head_has_no_body()
  local r = http.fetch { url = base .. "/hello", method = "HEAD" }
  lu.assertEquals({ r.status, r.body, r.headers["content-length"] }, { 200, "", "5" })
end

function test_repeated_fields_are_joined()
  local r = http.fetch(base .. "/cookies")
  lu.assertEquals({ r.headers["set-cookie"], r.headers["x-a"] }, { "a=1\nb=2", "1, 2" })
end

function test_redirects_are_followed_up_to_their_number()
  local r = http.fetch(base .. "/to/3")
  lu.assertEquals({ r.status, r.body, r.url }, { 200, "hello", base .. "/hello" })
  lu.assertNil(r.headers.location)
  lu.assertEquals(failure(base .. "/to/9").kind, "redirects")
  r = http.fetch { url = base .. "/to/3", redirects = 0 }
  lu.assertEquals({ r.status, r.headers.location }, { 303, "/to/2" })
end

function test_redirects_lead_to_http_alone()
  local head = "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
  local where, _ <close> = say(head, true)
  lu.assertEquals(failure(where).kind, "protocol")
end

function test_a_method_that_would_change_is_not_redirected()
  app.put("/moved", function() return http.redirect "/hello" end)
  app.post("/moved", function() return http.redirect "/hello" end)
  lu.assertEquals(http.fetch({ url = base .. "/moved", method = "PUT", body = "" }).status, 303)
  lu.assertEquals(http.fetch({ url = base .. "/moved", method = "POST" }).body, "hello")
  lu.assertStrContains(failure({ url = base .. "/moved", method = "PUT", redirects = 1 }).message, "not followed")
end

function test_a_unix_socket_is_gone_through()
  lu.assertEquals(http.fetch({ url = "http://app/hello", socket = socket }).body, "hello")
  lu.assertEquals(http.fetch({ url = "http://app/hello", socket = "unix:" .. socket }).body, "hello")
  lu.assertEquals(failure({ url = "http://app/hello", socket = socket .. ".no" }).kind, "refused")
end

function test_many_at_a_time()
  local n = 0
  local tasks = {}
  for i = 1, 200 do
    tasks[i] = spawn(function()
      local body = http.fetch(base .. "/hello").body
      n = n + #body
    end)
  end
  for _, task in ipairs(tasks) do task:await() end
  lu.assertEquals(n, 1000)
end

-- ---- streams ------------------------------------------------------------------------------------

function test_a_stream_is_read_piece_by_piece()
  local text = {}
  for bytes in http.fetch({ url = base .. "/drip", stream = true }):chunks() do text[#text + 1] = bytes end
  lu.assertEquals(table.concat(text), "drop 1drop 2drop 3")
  lu.assertTrue(#text > 1)
end

function test_a_slow_reader_of_a_stream_makes_the_server_wait()
  local r = http.fetch { url = base .. "/big/1000", stream = true }
  local n, before = 0, require("jobrun.core.host").stats().memory
  for bytes in r:chunks() do
    n = n + #bytes
    lu.assertTrue(#bytes <= 256 * 1024, "more was kept than may be")
    sleep(0)
  end
  lu.assertEquals(n, 10000000)
  r:close()
  collectgarbage()
  lu.assertTrue(require("jobrun.core.host").stats().memory - before < 3e6)
end

function test_a_stream_may_be_left()
  do
    local r <close> = http.fetch { url = base .. "/big/1000", stream = true }
    r:chunks()()
  end
  lu.assertEquals(http.fetch(base .. "/hello").body, "hello")
end

function test_a_stream_that_breaks_off_raises()
  local where, _ <close> = say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin", true)
  local read = http.fetch({ url = where, stream = true }):chunks()
  lu.assertEquals(read(), "begin")
  local ok, e = pcall(read)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "connection")
end

-- ---- no answer ----------------------------------------------------------------------------------

function test_failures_have_kinds_and_name_the_url()
  lu.assertEquals(failure("http://127.0.0.1:1/x").kind, "refused")
  lu.assertStrContains(failure("http://127.0.0.1:1/x").message, "http.fetch http://127.0.0.1:1/x: ")
  lu.assertEquals(failure("http://name.invalid/").kind, "unknown_host")
  lu.assertEquals(failure("https://127.0.0.1:" .. server.port).kind, "tls")
  local where, _ <close> = say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", true)
  lu.assertEquals(failure(where).kind, "connection")
  local mute, _ <close> = say("", true)
  lu.assertEquals(failure(mute).kind, "connection")
  local junk, _ <close> = say("SSH-2.0-server\r\n", true)
  lu.assertEquals(failure(junk).kind, "protocol")
  local long, _ <close> = say("HTTP/1.1 200 OK\r\n" .. ("X: " .. ("y"):rep(1000) .. "\r\n"):rep(300), true)
  lu.assertEquals(failure(long).kind, "limit")
end

function test_what_is_said_of_a_url_has_no_secrets()
  local e = failure "http://user:secret@127.0.0.1:1/x?token=secret"
  lu.assertEquals(e.url, "http://127.0.0.1:1/x")
  lu.assertNotStrContains(tostring(e), "secret")
end

function test_a_streams_limit_holds_for_what_was_held_back()
  local r = http.fetch { url = base .. "/big/100", stream = true, max_body = 300000 }
  testing.wait_for(function() return r.handle end)
  local n = 0
  local ok, e = pcall(function()
    for bytes in r:chunks() do
      n = n + #bytes
      sleep(0.005)
    end
  end)
  r:close()
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "limit")
  lu.assertTrue(n <= 300000)
end

function test_a_compressed_body_is_unpacked()
  local packed = exec({ "sh", "-c", "printf hello | gzip -c | base64 -w0" }).stdout
  local bytes = exec({ "sh", "-c", "printf %s '" .. packed .. "' | base64 -d" }).stdout
  app.get("/packed", function() return http.response(200, bytes, { ["content-encoding"] = "gzip" }) end)
  lu.assertEquals(http.fetch(base .. "/packed").body, "hello")
end

function test_a_request_ends_with_its_owner()
  local ok, e = pcall(jobrun.scope, function()
    spawn(http.fetch, base .. "/slow")
    sleep(0.01)
    error "the owner fails"
  end)
  lu.assertFalse(ok)
  lu.assertStrContains(tostring(e), "the owner fails")
  let_go()
end

function test_time_and_size_are_limited()
  local e = failure { url = base .. "/slow", timeout = 0.05 }
  lu.assertEquals({ e.kind, e.url }, { "timeout", base .. "/slow" })
  let_go()
  e = failure { url = base .. "/big/10", max_body = 99999 }
  lu.assertEquals(e.kind, "limit")
  lu.assertStrContains(e.message, "more than 99999 bytes")
  lu.assertEquals(#http.fetch({ url = base .. "/big/10", max_body = 100000 }).body, 100000)
end

function test_a_cancelled_task_ends_its_request()
  local task = spawn(function() http.fetch(base .. "/slow") end)
  testing.wait_for(function() return server:connections() > 0 end)
  task:cancel()
  lu.assertEquals(select(2, pcall(task.await, task)).kind, "cancelled")
  lu.assertEquals(select(2, pcall(jobrun.timeout, 0.02, http.fetch, base .. "/slow")).kind, "timeout")
  local early = spawn(function() http.fetch(base .. "/hello") end)
  early:cancel()
  lu.assertEquals(select(2, pcall(early.await, early)).kind, "cancelled")
  let_go()
end

function test_repeatable_requests_are_tried_again()
  local n = 0
  app.get("/third", function()
    n = n + 1
    if n < 3 then held:wait() end
    return "third"
  end)
  lu.assertEquals(http.fetch({ url = base .. "/third", timeout = 0.05, retry = { n = 3, backoff = 0.001 } }).body, "third")
  lu.assertEquals(n, 3)
  let_go()
end

function test_wrong_use_is_refused()
  local cases = {
    { "ftp://a/", "expected an http: or https: URL" },
    { "http://", "expected an http: or https: URL" },
    { "http://a/ b", "expected an http: or https: URL" },
    { {}, "url" },
    { { url = "http://a/", metod = "GET" }, "did you mean 'method'?" },
    { { url = "http://a/", method = "get" }, "expected a method" },
    { { url = "http://a/", body = "x", json = 1 }, "exclude each other" },
    { { url = "http://a/", headers = { ["A b"] = "c" } }, "header name" },
    { { url = "http://a/", headers = { A = "b\r\nC: d" } }, "header A" },
    { { url = "http://a/", body = "x", retry = 3 }, "a POST could be done twice" },
    { { url = "http://a/", timeout = -1 }, "timeout" },
  }
  for _, case in ipairs(cases) do
    local e = failure(case[1])
    lu.assertEquals(e.kind, "usage")
    lu.assertStrContains(e.message, case[2])
  end
end

function test_without_libcurl_it_says_what_to_install()
  local dir = testing.tmpdir()
  for _, name in ipairs { "libcurl.so.4", "libcurl-gnutls.so.4" } do fs.write(dir .. "/" .. name, "no library") end
  local r = exec { program, "-e", 'print(pcall(http.fetch, "http://127.0.0.1:1/"))', env = { LD_LIBRARY_PATH = dir } }
  lu.assertStrContains(r.stdout, "apt-get install libcurl4")
end

function test_a_request_under_way_does_not_hold_up_the_end()
  local r = exec { program, "--grace=0.05", "-e", ([[
    spawn(function() http.fetch "%s/slow" end)
    spawn(function() sleep(0.02) os.exit(3) end)
  ]]):format(base), check = false }
  lu.assertEquals(r.exit_code, 124)
  let_go()
end

function test_a_connection_is_kept_for_the_next_request()
  local r = exec { program, "-e", [[
    http.get("/", function(req) return req.remote end)
    local server = http.listen(0)
    local url = "http://127.0.0.1:" .. server.port
    assert(http.fetch(url).body == http.fetch(url).body)
    assert(server:connections() == 1)
    server:close()
  ]], check = false }
  lu.assertEquals({ r.exit_code, r.stderr:match "level=error.*" }, { 0 })
end

function test_the_virtual_clock_waits_for_an_answer()
  local r = exec { program, "--clock=virtual", "-e", ([[
    local before = now()
    assert(http.fetch("%s/drip").body == "drop 1drop 2drop 3")
    assert(now() - before < 5)
    spawn(function() sleep(3600) end)
  ]]):format(base) }
  lu.assertEquals(r.exit_code, 0)
end
