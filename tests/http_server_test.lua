-- http.listen: the protocol on real sockets, its limits and its end. Clients are luv's sockets on the same loop; what
-- ends a script runs in a process of its own.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local uv = require "luv"

local channel, exec, fs, http, sleep, spawn = jobrun.channel, jobrun.exec, jobrun.fs, jobrun.http, jobrun.sleep, jobrun.spawn

-- libuv keeps a descriptor of its own from the first listen on.
http.app().listen(0):close()

-- ---- a client of bytes --------------------------------------------------------------------------

local Client = {}
Client.__index = Client

local function connect(server)
  local c = setmetatable({ text = "", socket = uv.new_tcp() }, Client)
  local ready = channel(1)
  c.socket:connect("127.0.0.1", server.port, function(e) ready:put(e or "") end)
  local e = ready:get()
  assert(e == "", e)
  c.socket:read_start(function(failed, bytes)
    c.error = failed
    if bytes then c.text = c.text .. bytes else c.ended = true end
  end)
  return c
end

function Client:send(bytes)
  self.socket:write(bytes)
  return self
end

-- Waits until the text has `pattern`, and returns what was captured; takes it away.
function Client:expect(pattern)
  local from, to, capture
  testing.wait_for(function()
    from, to, capture = self.text:find(pattern)
    return from or self.ended
  end)
  if not from then error(("expected %q, got %q and the end"):format(pattern, self.text), 2) end
  local found = self.text:sub(1, to)
  self.text = self.text:sub(to + 1)
  return capture or found
end

-- All that came until the server ended the connection.
function Client:rest()
  testing.wait_for(function() return self.ended end)
  self:close()
  return self.text
end

function Client:close()
  if not self.socket:is_closing() then self.socket:close() end
end

-- A server of its own for each test.
local function serve(declare, options)
  local app = http.app()
  declare(app)
  local o = { "127.0.0.1:0" }
  for key, value in pairs(options or {}) do o[key] = value end
  return app.listen(o)
end

local function hello(app)
  app.get("/", function() return "hello" end)
  app.post("/echo", function(req) return req.body end)
end

-- One exchange on a connection that the client asks to be closed, or that the server closes.
local function ask(server, bytes)
  local c = connect(server)
  return c:send(bytes):rest()
end

local function finish(server, ...)
  server:close()
  testing.wait_for(function() return server:connections() == 0 end)
  return ...
end

local GET <const> = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
local LAST <const> = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

-- ---- the protocol -------------------------------------------------------------------------------

TestProtocol = {}

function TestProtocol.test_an_answer_has_a_status_a_date_and_a_length()
  local server = serve(hello)
  local text = ask(server, LAST)
  finish(server)
  lu.assertStrMatches(text, "HTTP/1%.1 200 OK\r\nDate: %a%a%a, %d%d %a%a%a %d%d%d%d [%d:]+ GMT\r\n"
    .. "Content%-Type: text/plain; charset=utf%-8\r\nContent%-Length: 5\r\nConnection: close\r\n\r\nhello")
end

function TestProtocol.test_a_connection_serves_one_request_after_the_other()
  local server = serve(hello)
  local c = connect(server)
  for _ = 1, 3 do
    c:send(GET)
    c:expect "\r\n\r\nhello"
  end
  lu.assertEquals(server:connections(), 1)
  lu.assertStrContains(c:send(LAST):rest(), "Connection: close")
  finish(server)
end

function TestProtocol.test_requests_sent_ahead_are_answered_in_order()
  local server = serve(function(app)
    local n = 0
    app.get("/{wait:number}", function(req)
      n = n + 1
      local mine = n
      sleep(req.params.wait)
      return ("<%d %s>"):format(mine, req.params.wait)
    end)
  end)
  local bytes = {}
  for _, wait in ipairs { 0.02, 0, 0.01 } do bytes[#bytes + 1] = ("GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"):format(wait) end
  local text = ask(server, table.concat(bytes) .. LAST)
  finish(server)
  local order = {}
  for one in text:gmatch "<(%d)" do order[#order + 1] = one end
  lu.assertEquals(table.concat(order), "123")
end

function TestProtocol.test_a_flood_of_requests_sent_ahead_loses_none()
  local server = serve(hello)
  local c = connect(server)
  for _ = 1, 100 do c:send(GET:rep(100)) end
  c:send(LAST)
  local _, n = c:rest():gsub("hello", "")
  finish(server)
  lu.assertEquals(n, 10001)
end

function TestProtocol.test_bodies_come_by_length_and_in_chunks_however_they_are_cut()
  local server = serve(hello)
  local c = connect(server)
  local head = "POST /echo HTTP/1.1\r\nHost: a\r\n"
  c:send(head .. "Content-Length: 6\r\n\r\nabcdef"):expect "\r\n\r\nabcdef"
  for byte in (head .. "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nT: u\r\n\r\n"):gmatch "." do
    c:send(byte)
    sleep(0)
  end
  c:expect "\r\n\r\nabcdefg"
  local long = ("0123456789"):rep(50000)
  c:send(head .. ("Content-Length: %d\r\n\r\n"):format(#long))
  for i = 1, #long, 60000 do c:send(long:sub(i, i + 59999)) end
  c:expect(long)
  c:close()
  finish(server)
end

function TestProtocol.test_100_continue_comes_before_the_body()
  local server = serve(hello)
  local c = connect(server)
  c:send "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
  c:expect "^HTTP/1%.1 100 Continue\r\n\r\n$"
  lu.assertStrContains(c:send("ab"):rest(), "\r\n\r\nab")
  lu.assertStrContains(ask(server, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"),
    "HTTP/1.1 413 ")
  finish(server)
end

function TestProtocol.test_head_has_the_length_and_no_body()
  local server = serve(hello)
  local text = ask(server, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" .. LAST)
  finish(server)
  lu.assertStrMatches(text, "HTTP/1%.1 200.-Content%-Length: 5\r\n\r\nHTTP/1%.1 200.*hello")
end

function TestProtocol.test_http_1_0_is_closed_unless_it_asks_otherwise()
  local server = serve(function(app)
    hello(app)
    app.get("/stream", function() return http.stream(function(write) write "a" write "b" end) end)
  end)
  lu.assertStrMatches(ask(server, "GET / HTTP/1.0\r\n\r\n"), ".*Connection: close\r\n\r\nhello")
  lu.assertStrMatches(ask(server, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), ".*Connection: close\r\n\r\nab")
  local c = connect(server)
  c:send "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
  c:expect "Connection: keep%-alive\r\n\r\nhello"
  c:send "GET / HTTP/1.0\r\n\r\n"
  lu.assertStrContains(c:rest(), "hello")
  finish(server)
end

function TestProtocol.test_a_stream_goes_out_in_chunks_or_by_its_length()
  local server = serve(function(app)
    app.get("/chunks", function()
      return http.stream(function(write) write "ab" write "" write(("c"):rep(17)) end)
    end)
    app.get("/length", function()
      return http.stream(function(write) write "ab" write "c" end, { headers = { ["content-length"] = "3" } })
    end)
  end)
  local c = connect(server)
  c:send "GET /chunks HTTP/1.1\r\nHost: a\r\n\r\n"
  c:expect "Transfer%-Encoding: chunked\r\n\r\n2\r\nab\r\n11\r\nc+\r\n0\r\n\r\n"
  c:send "GET /length HTTP/1.1\r\nHost: a\r\n\r\n"
  local head = c:expect "\r\n\r\nabc$"
  lu.assertStrContains(head, "Content-Length: 3")
  lu.assertNotStrContains(head, "chunked")
  c:close()
  finish(server)
end

function TestProtocol.test_no_content_has_neither_length_nor_body()
  local server = serve(function(app)
    app.get("/", function() end)
  end)
  local text = ask(server, GET .. LAST)
  finish(server)
  lu.assertStrMatches(text, "HTTP/1%.1 204 No Content\r\nDate: [^\r]+\r\n\r\nHTTP/1%.1 204 .*")
  lu.assertNotStrContains(text, "Length")
end

function TestProtocol.test_what_is_refused_is_answered_and_ends_the_connection()
  local server = serve(hello)
  local cases = {
    ["GET / HTTP/1.1\r\n\r\n"] = "400 Bad Request",
    ["GET / HTTP/1.1\nHost: a\n\n"] = "400 Bad Request",
    ["POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] = "400 Bad Request",
    ["POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"] = "400 Bad Request",
    ["POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"] = "501 Not Implemented",
    ["GET / HTTP/3.0\r\nHost: a\r\n\r\n"] = "505 HTTP Version Not Supported",
    ["GET /" .. ("x"):rep(9000) .. " HTTP/1.1\r\nHost: a\r\n\r\n"] = "414 URI Too Long",
    ["GET / HTTP/1.1\r\nHost: a\r\nX: " .. ("x"):rep(17000) .. "\r\n\r\n"] = "431 Request Header Fields Too Large",
    ["POST /echo HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n"] = "417 Expectation Failed",
  }
  for bytes, status in pairs(cases) do
    local text = ask(server, bytes .. LAST)
    lu.assertStrContains(text, "HTTP/1.1 " .. status .. "\r\n")
    lu.assertStrContains(text, "Connection: close\r\n")
    lu.assertStrContains(text, '{"detail":"')
    lu.assertNotStrContains(text, "hello")
  end
  finish(server)
end

function TestProtocol.test_a_body_beyond_the_limit_is_refused_also_in_chunks()
  local server = serve(hello, { max_body = 10 })
  local head = "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
  lu.assertStrContains(ask(server, head .. "Content-Length: 10\r\n\r\n0123456789"), "\r\n\r\n0123456789")
  lu.assertStrContains(ask(server, head .. "Content-Length: 11\r\n\r\n0123456789a"), "413 Content Too Large")
  local chunks = head .. "Transfer-Encoding: chunked\r\n\r\n"
  lu.assertStrContains(ask(server, chunks .. "a\r\n0123456789\r\n0\r\n\r\n"), "\r\n\r\n0123456789")
  lu.assertStrContains(ask(server, chunks .. "a\r\n0123456789\r\n1\r\n"), "413 Content Too Large")
  lu.assertStrContains(ask(server, chunks .. "fffffffffffffff\r\n0123456789a"), "413 Content Too Large")
  finish(server)
end

function TestProtocol.test_an_answer_to_an_unread_upload_arrives()
  local server = serve(hello, { max_body = 10 })
  local c = connect(server)
  c:send "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n"
  for _ = 1, 40 do c:send(("x"):rep(10000)) end
  lu.assertStrContains(c:rest(), "413 Content Too Large")
  lu.assertNil(c.error)
  finish(server)
end

function TestProtocol.test_a_client_that_only_shut_its_side_down_gets_its_answer()
  local server = serve(function(app)
    app.get("/", function()
      sleep(0.02)
      return "late"
    end)
  end)
  local c = connect(server)
  c:send(GET)
  c.socket:shutdown()
  lu.assertStrContains(c:rest(), "late")
  finish(server)
end

function TestProtocol.test_headers_come_in_small_letters_and_joined()
  local server = serve(function(app)
    app.get("/", function(req)
      local h = req.headers
      return { a = h["x-a"], cookie = h.cookie, host = h.host, long = #(h[("y"):rep(100)] or "") }
    end)
  end)
  local text = ask(server, "GET http://b/ HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nCookie: c=1\r\nCookie: d=2\r\n"
    .. ("Y"):rep(100) .. ": z\r\nConnection: close\r\n\r\n")
  finish(server)
  lu.assertStrContains(text, [[{"a":"1, 2","cookie":"c=1; d=2","host":"b","long":1}]])
end

-- ---- handlers -----------------------------------------------------------------------------------

TestHandlers = {}

function TestHandlers.test_handlers_run_side_by_side()
  local server = serve(function(app)
    local here = 0
    app.get("/", function()
      here = here + 1
      testing.wait_for(function() return here == 2 end)
      return "both"
    end)
  end)
  local a, b = connect(server), connect(server)
  a:send(LAST)
  b:send(LAST)
  lu.assertStrContains(a:rest(), "both")
  lu.assertStrContains(b:rest(), "both")
  finish(server)
end

function TestHandlers.test_the_answer_does_not_wait_for_what_the_handler_spawned()
  local go, done = jobrun.event(), jobrun.event()
  local server = serve(function(app)
    app.get("/", function()
      spawn(function()
        go:wait()
        done:set()
      end)
      return "early"
    end)
  end)
  local c = connect(server)
  c:send(GET):expect "early"
  c:send(GET):expect "early"
  lu.assertFalse(done.is_set)
  go:set()
  done:wait()
  c:close()
  finish(server)
end

function TestHandlers.test_a_client_that_goes_ends_the_stream_it_reads()
  local ended = jobrun.channel(2)
  local server = serve(function(app)
    app.events("/events", function(_, send)
      local _ <close> = setmetatable({}, { __close = function() ended:put "events" end })
      send "first"
      sleep(60)
    end)
    app.get("/stream", function()
      return http.stream(function(write)
        local _ <close> = setmetatable({}, { __close = function() ended:put "stream" end })
        while true do
          write(("x"):rep(1000))
          sleep(0.001)
        end
      end)
    end)
  end)
  for _, kind in ipairs { "events", "stream" } do
    local c = connect(server)
    c:send("GET /" .. kind .. " HTTP/1.1\r\nHost: a\r\n\r\n")
    c:expect "\r\n\r\n."
    c:close()
    lu.assertEquals(ended:get(), kind)
  end
  finish(server)
end

function TestHandlers.test_a_handler_whose_client_goes_before_the_answer_does_its_work()
  local begun, go, done = jobrun.event(), jobrun.event(), jobrun.event()
  local server = serve(function(app)
    app.post("/", function()
      begun:set()
      go:wait()
      done:set()
      return "nobody reads this"
    end)
  end)
  local c = connect(server)
  c:send "POST / HTTP/1.1\r\nHost: a\r\n\r\n"
  begun:wait()
  c:close()
  testing.wait_for(function() return c.socket:is_closing() end)
  go:set()
  done:wait()
  finish(server)
end

function TestHandlers.test_a_writer_waits_for_a_slow_reader()
  local written = 0
  local server = serve(function(app)
    app.get("/", function()
      return http.stream(function(write)
        for _ = 1, 100 do
          write(("x"):rep(100000))
          written = written + 100000
        end
      end)
    end)
  end)
  local c = connect(server)
  c.socket:read_stop()
  c:send(LAST)
  local before = -1
  testing.wait_for(function()
    local still = written == before and written > 0
    before = written
    return still
  end)
  lu.assertTrue(written < 10000000, "all was written though nobody read")
  local got = 0
  c.socket:read_start(function(_, bytes)
    if bytes then got = got + #bytes else c.ended = true end
  end)
  c:rest()
  finish(server)
  lu.assertEquals(written, 10000000)
  lu.assertTrue(got > 10000000)
end

function TestHandlers.test_a_large_body_arrives_whole()
  local server = serve(function(app)
    local body = ("0123456789abcdef"):rep(300000)
    app.get("/", function() return body end)
  end)
  local c = connect(server)
  local parts = {}
  c.socket:read_start(function(_, bytes)
    if bytes then parts[#parts + 1] = bytes else c.ended = true end
  end)
  c:send(GET .. LAST):rest()
  finish(server)
  local text = table.concat(parts)
  local _, n = text:gsub(("0123456789abcdef"):rep(300000), "")
  lu.assertEquals(n, 2)
end

function TestHandlers.test_a_stream_that_breaks_is_cut_and_logged()
  local r = exec { program, "-e", [[
    local uv = require "luv"
    local app = http.app()
    app.get("/", function() return http.stream(function(write) write "begin" error "broken" end) end)
    app.get("/short", function()
      return http.stream(function(write) write "ab" end, {headers = {["content-length"] = "3"}})
    end)
    local server = app.listen(0)
    app.get("/long", function()
      return http.stream(function(write) write "abcd" end, {headers = {["content-length"] = "3"}})
    end)
    spawn(function()
      for _, path in ipairs {"/", "/short", "/long"} do
        local c, text, done = uv.new_tcp(), "", event()
        c:connect("127.0.0.1", server.port, function()
          c:read_start(function(_, bytes) if bytes then text = text .. bytes else c:close() done:set() end end)
          c:write("GET " .. path .. " HTTP/1.1\r\nHost: a\r\n\r\n")
        end)
        done:wait()
        print(path, ((text:match "\r\n\r\n(.*)" or "nothing"):gsub("\r\n", "|")))
      end
      server:close()
    end)
  ]], check = false }
  lu.assertEquals(r.stdout, "/\t5|begin|\n/short\tab\n/long\tnothing\n")
  lu.assertStrContains(r.stderr, "GET /: ")
  lu.assertStrContains(r.stderr, "broken")
  lu.assertStrContains(r.stderr, "GET /short: the body has fewer bytes than its Content-Length says")
  lu.assertStrContains(r.stderr, "GET /long: the body has more bytes than its Content-Length says")
end

function TestHandlers.test_what_fails_after_the_answer_is_logged()
  local r = exec { program, "-e", [[
    local uv = require "luv"
    http.get("/", function()
      spawn(function() sleep(0.01) error "too late" end)
      return "fine"
    end)
    local server = http.listen(0)
    spawn(function()
      local c, done = uv.new_tcp(), event()
      c:connect("127.0.0.1", server.port, function()
        c:read_start(function(_, bytes) if bytes then print(bytes:match "%w+$") else c:close() done:set() end end)
        c:write "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      end)
      done:wait()
      server:close()
    end)
  ]], check = false }
  lu.assertEquals(r.stdout, "fine\n")
  lu.assertStrMatches(r.stderr, ".*level=error msg=\"GET /: .*too late.*traceback.*")
end

-- ---- deadlines and limits -----------------------------------------------------------------------

TestLimits = {}

function TestLimits.test_each_part_has_its_deadline()
  local server = serve(hello, { head_timeout = 0.05, body_timeout = 0.05, keep_alive = 0.05 })
  lu.assertStrContains(ask(server, "GET / HTTP/1.1\r\nHos"), "408 Request Timeout")
  lu.assertStrContains(ask(server, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"), "408 Request Timeout")
  local c = connect(server)
  lu.assertEquals(c:rest(), "") -- idle: closed without a word
  c = connect(server)
  c:send(GET):expect "hello"
  lu.assertEquals(c:rest(), "")
  finish(server)
end

function TestLimits.test_bytes_that_trickle_do_not_move_the_heads_deadline()
  local server = serve(hello, { head_timeout = 0.1 })
  local c = connect(server)
  c:send "GET / HTTP/1.1\r\nX: "
  local trickle = spawn(function()
    while not c.ended do
      c:send "x"
      sleep(0.005)
    end
  end)
  lu.assertStrContains(c:rest(), "408 Request Timeout")
  trickle:cancel()
  finish(server)
end

function TestLimits.test_a_client_that_does_not_read_is_given_up()
  local ended = jobrun.event()
  local server = serve(function(app)
    app.get("/", function()
      return http.stream(function(write)
        local _ <close> = setmetatable({}, { __close = function() ended:set() end })
        while true do write(("x"):rep(100000)) end
      end)
    end)
  end, { write_timeout = 0.1 })
  local c = connect(server)
  c.socket:read_stop()
  c:send(GET)
  ended:wait()
  c:close()
  finish(server)
end

function TestLimits.test_connections_beyond_the_limit_wait_for_a_place()
  local server = serve(hello, { max_connections = 2 })
  local a, b, c = connect(server), connect(server), connect(server)
  a:send(GET):expect "hello"
  b:send(GET):expect "hello"
  c:send(GET)
  a:send(GET):expect "hello"
  lu.assertEquals(server:connections(), 2)
  lu.assertEquals(c.text, "")
  a:close()
  c:expect "hello"
  b:close()
  c:close()
  finish(server)
end

-- A script in a process of its own, and the port it printed.
local function start(script, option)
  local p = exec.start { check = false, program, option or "--log-level=error", "-e", script }
  local lines = p:lines()
  return p, math.tointeger(tonumber((lines()))), lines
end

local HELLO <const> = [[
  http.get("/", function() return "hello" end)
  local server = http.listen(0)
  print(server.port)
  io.stdout:flush()
]]

function TestLimits.test_no_descriptors_left_is_survived()
  local p, port = start(HELLO)
  local limit = exec { "prlimit", "--pid", tostring(p.pid), "--nofile=24:24", check = false }
  lu.assertEquals(limit.exit_code, 0)
  local sockets = {}
  for i = 1, 60 do
    sockets[i] = uv.new_tcp()
    sockets[i]:connect("127.0.0.1", port, function() end)
  end
  local c = connect { port = port }
  for _, socket in ipairs(sockets) do socket:close() end
  c:close()
  testing.wait_for(function()
    c = connect { port = port }
    return c:send(LAST):rest():find "hello"
  end)
  p:stop()
  p:wait()
end

-- ---- the end ------------------------------------------------------------------------------------

TestStop = {}

function TestStop.test_requests_under_way_are_answered_and_idle_connections_closed()
  local p, port, lines = start [[
    http.get("/", function() print "begun" io.stdout:flush() sleep(0.2) return "answered" end)
    on.stop(function(why) print("stop " .. why) end)
    print(http.listen(0).port)
    io.stdout:flush()
  ]]
  local idle, busy = connect { port = port }, connect { port = port }
  busy:send(GET)
  lu.assertEquals(lines(), "begun")
  p:signal "SIGTERM"
  lu.assertEquals(idle:rest(), "")
  local text = busy:rest()
  lu.assertStrContains(text, "answered")
  lu.assertStrContains(text, "Connection: close")
  lu.assertEquals(lines(), "stop signal")
  lu.assertEquals(p:wait().exit_code, 0)
end

function TestStop.test_a_large_answer_is_sent_to_its_end()
  local p, port = start [[
    local body = ("x"):rep(5000000)
    http.get("/", function() spawn(os.exit) return body end)
    print(http.listen(0).port)
    io.stdout:flush()
  ]]
  local c = connect { port = port }
  local n = 0
  c.socket:read_start(function(_, bytes)
    if bytes then n = n + select(2, bytes:gsub("x", "")) else c.ended = true end
  end)
  c:send(GET):rest()
  lu.assertEquals(n, 5000000 + 1) -- and text/plain's
  lu.assertEquals(p:wait().exit_code, 0)
end

function TestStop.test_streams_of_events_end()
  local p, port = start [[
    http.events("/", function(_, send) send "first" sleep(60) end)
    print(http.listen(0).port)
    io.stdout:flush()
  ]]
  local c = connect { port = port }
  c:send(GET):expect "data: first"
  p:signal "SIGTERM"
  c:rest()
  lu.assertEquals(p:wait().exit_code, 0)
end

function TestStop.test_a_request_beyond_the_grace_is_cut()
  local p, port, lines = start([[
    http.get("/", function() print "begun" io.stdout:flush() sleep(60) end)
    print(http.listen(0).port)
    io.stdout:flush()
  ]], "--grace=0.1")
  local c = connect { port = port }
  c:send(GET)
  lu.assertEquals(lines(), "begun")
  p:signal "SIGTERM"
  lu.assertStrContains(c:rest(), "503 Service Unavailable")
  lu.assertEquals(p:wait().exit_code, 124)
end

function TestStop.test_a_closed_server_lets_the_script_end()
  local r = exec { program, "-e", HELLO .. "server:close() server:close()", check = false }
  lu.assertEquals(r.exit_code, 0)
end

function TestStop.test_closed_servers_leave_no_memory()
  local memory = require("jobrun.core.host").stats
  local function round()
    for _ = 1, 50 do finish(serve(hello)) end
    for _ = 1, 3 do
      collectgarbage()
      sleep(0)
    end
    return memory().memory
  end
  round()
  local before = round()
  lu.assertTrue(round() - before < 10000)
end

function TestStop.test_requests_wait_for_the_start_hooks()
  local r = exec { program, "-e", [[
    local uv = require "luv"
    local ready = false
    http.get("/", function() return tostring(ready) end)
    local server = http.listen(0)
    on.start(function() sleep(0.05) ready = true end)
    local c = uv.new_tcp()
    c:connect("127.0.0.1", server.port, function()
      c:read_start(function(_, bytes) if bytes then print(bytes:match "%w+$") else c:close() server:close() end end)
      c:write "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    end)
  ]] }
  lu.assertEquals(r.stdout, "true\n")
end

-- ---- addresses ----------------------------------------------------------------------------------

TestAddresses = {}

function TestAddresses.test_several_addresses_serve_the_same_routes()
  local socket = testing.tmpdir() .. "/app.sock"
  local app = http.app()
  hello(app)
  local server = app.listen { "127.0.0.1:0", "localhost:0", "[::1]:0", "unix:" .. socket, mode = "0660" }
  lu.assertEquals(#server.addresses, 4)
  lu.assertEquals(server.addresses[1], ("http://127.0.0.1:%d"):format(server.port))
  lu.assertStrMatches(server.addresses[3], "http://%[::1%]:%d+")
  lu.assertEquals(fs.stat(socket).mode, "0660")
  lu.assertStrContains(ask({ port = math.tointeger(server.addresses[2]:match "%d+$") }, LAST), "hello")
  local c = setmetatable({ text = "", socket = uv.new_pipe(false) }, Client)
  local ready = channel(1)
  c.socket:connect(socket, function(e) ready:put(e or "") end)
  lu.assertEquals(ready:get(), "")
  c.socket:read_start(function(_, bytes)
    if bytes then c.text = c.text .. bytes else c.ended = true end
  end)
  lu.assertStrContains(c:send(LAST):rest(), "hello")
  finish(server)
  testing.wait_for(function() return not fs.stat(socket) end)
end

function TestAddresses.test_a_socket_file_of_a_dead_server_is_replaced_a_living_ones_is_not()
  local path = testing.tmpdir() .. "/app.sock"
  local script = 'http.get("/", print) http.listen("unix:%s") print "up" io.stdout:flush()'
  local p = exec.start { check = false, program, "-e", script:format(path) }
  lu.assertEquals(p:lines()(), "up")
  local app = http.app()
  hello(app)
  local e = select(2, pcall(app.listen, "unix:" .. path))
  lu.assertEquals(e.code, "EADDRINUSE")
  lu.assertStrContains(e.message, path)
  p:signal "SIGKILL"
  p:wait()
  lu.assertEquals(fs.stat(path).type, "socket")
  finish(app.listen("unix:" .. path))
  fs.write(path, "not a socket")
  lu.assertEquals(select(2, pcall(app.listen, "unix:" .. path)).code, "EADDRINUSE")
  lu.assertEquals(fs.read(path), "not a socket")
end

function TestAddresses.test_wrong_addresses_and_options_are_refused_at_their_line()
  local cases = {
    ["http.listen()"] = "expected an address",
    ["http.listen {}"] = "expected an address",
    ["http.listen '8080'"] = "expected an address such as",
    ["http.listen '127.0.0.1:99999'"] = 'got "127.0.0.1:99999"',
    ["http.listen 'example.org:80'"] = 'got "example.org:80"',
    ["http.listen '1.2.3.4.5:80'"] = 'got "1.2.3.4.5:80"',
    ["http.listen '192.0.2.1:0'"] = "no interface of this machine has that address",
    ["http.listen 'unix:/no/such/folder/x'"] = "/no/such/folder/x",
    ["http.listen {0, max_conections = 3}"] = "did you mean 'max_connections'?",
    ["http.listen {0, max_connections = 0}"] = "at least 1",
    ["http.listen {0, keep_alive = 'long'}"] = "keep_alive",
    ["http.listen {0, mode = '9'}"] = "mode",
  }
  for call, text in pairs(cases) do
    local r = exec { program, "-e", "\nhttp.get('/', print)\n" .. call, check = false }
    lu.assertEquals(r.exit_code, 2, call .. "\n" .. r.stderr)
    lu.assertStrContains(r.stderr, text)
    lu.assertStrContains(r.stderr, ":3: ")
  end
end

function TestAddresses.test_an_address_in_use_says_so()
  local server = serve(hello)
  local app = http.app()
  local ok, e = pcall(app.listen, server.port)
  finish(server)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "busy")
  lu.assertStrContains(e.message, ("127.0.0.1:%d: address already in use (something listens"):format(server.port))
end

function TestAddresses.test_routes_that_nobody_serves_are_an_error()
  local r = exec { program, "-e", "\nhttp.get('/', print)", check = false }
  lu.assertEquals(r.exit_code, 2)
  lu.assertStrContains(r.stderr, ":2: ")
  lu.assertStrContains(r.stderr, "http.listen")
end

function TestAddresses.test_looking_at_a_script_opens_no_socket()
  local path = testing.tmpdir() .. "/script.lua"
  fs.write(path, "http.get('/', print)\nhttp.listen '192.0.2.1:80'\nevery().day:named('tick'):run(print)\n")
  local r = exec { program, "list", path }
  lu.assertStrContains(r.stdout, "tick")
end
