-- Routes: from a request to a response, by the client without sockets.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local http, json, fs = require "jobrun.http", jobrun.json, jobrun.fs
local t = http.t

local app, c -- each test's own, see the end

local function failure(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.where, "http_routes_test.lua:")
  return e.message
end

local function answer(r)
  return { r.status, r.headers["content-type"], r.body }
end

local JSON, TEXT = "application/json", "text/plain; charset=utf-8"

function test_what_a_handler_returns_is_the_response()
  app.get("/table", function() return { a = 1 } end)
  app.get("/text", function() return "hi" end)
  app.get("/nothing", function() end)
  app.get("/status", function() return 202 end)
  app.get("/created", function() return 201, { id = 3 }, { Location = "/x/3" } end)
  app.get("/list", function() return json.array {} end)
  app.get("/html", function() return http.html "<p>" end)
  app.get("/away", function() return http.redirect "/text" end)
  app.get("/response", function() return http.response(200, "x", { ["Set-Cookie"] = { "a=1", "b=2" } }) end)
  lu.assertEquals(answer(c:get "/table"), { 200, JSON, '{"a":1}' })
  lu.assertEquals(answer(c:get "/text"), { 200, TEXT, "hi" })
  lu.assertEquals(answer(c:get "/nothing"), { 204, nil, "" })
  lu.assertEquals(answer(c:get "/status"), { 202, nil, "" })
  lu.assertEquals(answer(c:get "/created"), { 201, JSON, '{"id":3}' })
  lu.assertEquals(c:get("/created").headers.location, "/x/3")
  lu.assertEquals(answer(c:get "/list"), { 200, JSON, "[]" })
  lu.assertEquals(answer(c:get "/html"), { 200, "text/html; charset=utf-8", "<p>" })
  lu.assertEquals({ c:get("/away").status, c:get("/away").headers.location }, { 303, "/text" })
  lu.assertEquals(c:get("/response").headers["set-cookie"], "a=1, b=2")
end

function test_paths_lead_to_the_nearest_route()
  app.get("/items/{id:int}", function(req) return { id = req.params.id } end)
  app.get("/items/new", function() return "new" end)
  app.get("/items/{name}/log", function(req) return req.params.name end)
  app.get("/files/{rest:path}", function(req) return req.params.rest end)
  app.get("/", function() return "root" end)
  lu.assertEquals(c:get("/items/3"):json(), { id = 3 })
  lu.assertEquals(c:get("/items/new").body, "new")
  lu.assertEquals(c:get("/items/new/log").body, "new")
  lu.assertEquals(c:get("/items/a%2Fb%20c/log").body, "a/b c")
  lu.assertEquals(c:get("/files/a/b.txt?x=1").body, "a/b.txt")
  lu.assertEquals(c:get("/?x").body, "root")
  lu.assertEquals(answer(c:get "/none"), { 404, JSON, '{"detail":"Not Found"}' })
  lu.assertEquals(c:get("/items//log").status, 404)
  lu.assertEquals(c:get("/items/").status, 404)
  lu.assertEquals(c:get("/items/%zz/log").status, 400)
end

function test_methods()
  app.get("/x", function() return "get" end)
  app.put("/x", function() return "put" end)
  lu.assertEquals(answer(c:delete "/x"), { 405, JSON, '{"detail":"Method Not Allowed"}' })
  lu.assertEquals(c:delete("/x").headers.allow, "GET, HEAD, OPTIONS, PUT")
  lu.assertEquals({ c:options("/x").status, c:options("/x").headers.allow }, { 204, "GET, HEAD, OPTIONS, PUT" })
  local head = c:head "/x"
  lu.assertEquals({ head.status, head.body, head.headers["content-length"] }, { 200, "", "3" })
  lu.assertEquals(c:put("/x").body, "put")
end

function test_a_response_may_be_kept_and_returned_again()
  local dir = testing.tmpdir()
  fs.write(dir .. "/a.txt", "0123")
  local page, file = http.html "<p>", http.file(dir .. "/a.txt")
  app.get("/page", function() return page end)
  app.get("/file", function() return file end)
  for _, path in ipairs { "/page", "/file" } do
    c:head(path)
    c:get(path, { headers = { range = "bytes=0-1" } })
    lu.assertEquals({ c:get(path).status, c:get(path).body }, { 200, path == "/page" and "<p>" or "0123" })
  end
end

function test_all_errors_of_a_request_come_together()
  app.put("/items/{id:int}", {
    query = { limit = t.int { min = 1, default = 10 }, q = t.string },
    header = { x_token = t.string },
    body = t.object { name = t.string },
  }, function() return "never" end)
  local r = c:put("/items/x?limit=0", { json = {} })
  lu.assertEquals(r.status, 422)
  local seen = {}
  for _, e in ipairs(r:json().detail) do seen[#seen + 1] = table.concat(e.loc, ".") .. " " .. e.type end
  lu.assertEquals(seen, { "path.id int_parsing", "query.limit greater_than_equal", "query.q missing", "header.x-token missing",
    "body.name missing" })
  lu.assertEquals(r:json().detail[1], { type = "int_parsing", loc = json.array { "path", "id" }, input = "x",
    msg = "Input should be a valid integer, unable to parse string as an integer" })
end

function test_malformed_json_is_422()
  app.post("/", { body = t.any }, function(req) return req.body end)
  app.post("/free", function(req) return req:json() end)
  local expected = { type = "json_invalid", loc = json.array { "body", 5 }, msg = "JSON decode error", input = {},
    ctx = { error = "expected a value (string, number, true, false, null, [ or {), got 'x'" } }
  for _, path in ipairs { "/", "/free" } do
    local r = c:post(path, { body = '{"a":x}' })
    lu.assertEquals({ r.status, r:json().detail[1] }, { 422, expected })
  end
  lu.assertEquals(c:post("/", { body = "[1]" }).body, "[1]")
  lu.assertEquals(c:post("/", { body = "{}", headers = { ["Content-Type"] = "text/plain" } }).body, "{}")
end

function test_queries_and_headers()
  app.get("/free", function(req) return req.query end)
  app.get("/typed", { query = { tag = t.list(t.string) { default = {} }, n = t.int { optional = true } } },
    function(req) return req.query end)
  app.get("/header", { header = { x_n = t.int } }, function(req) return { req.header.x_n, req.headers["x-n"] } end)
  lu.assertEquals(c:get("/free?a=1&a=2&b=x+y%26&c"):json(), { a = "2", b = "x y&", c = "" })
  lu.assertEquals(c:get("/typed?tag=a&tag=b&n=3&other=1"):json(), { tag = json.array { "a", "b" }, n = 3 })
  lu.assertEquals(c:get("/typed").body, '{"tag":[]}')
  lu.assertEquals(c:get("/header", { headers = { ["X-N"] = "5" } }).body, '[5,"5"]')
end

function test_text_that_is_not_utf8()
  app.get("/{name}", { query = { n = t.int { optional = true } } }, function(req) return { req.params.name } end)
  local r = c:get "/%ff?n=%fe"
  lu.assertEquals(r.status, 422)
  lu.assertEquals({ r:json().detail[1].type, r:json().detail[1].input }, { "string_unicode", "\u{FFFD}" })
  lu.assertEquals(r:json().detail[2].type, "int_parsing")
end

function test_failures()
  app.get("/gone", function() http.fail(410, { why = "old" }, { ["x-a"] = "1" }) end)
  app.get("/plain", function() http.fail(403) end)
  lu.assertEquals(answer(c:get "/gone"), { 410, JSON, '{"detail":{"why":"old"}}' })
  lu.assertEquals(c:get("/gone").headers["x-a"], "1")
  lu.assertEquals(answer(c:get "/plain"), { 403, JSON, '{"detail":"Forbidden"}' })
  app.get("/bytes", function() http.fail(404, "caf\xe9") end)
  lu.assertEquals(app.client_for_test():get("/bytes").body, '{"detail":"caf\u{fffd}"}')
  lu.assertStrContains(failure(http.fail, 200), "expected a status from 400 to 599, got 200")
end

function test_an_uncaught_error_is_500_and_its_trace_goes_to_the_log()
  local dir = testing.tmpdir()
  fs.write(dir .. "/app.lua", [[
    local http = require "jobrun.http"
    http.get("/boom", function() error "the secret" end)
    http.get("/object", function() sleep(-1) end)
    http.get("/function", function() return print end)
    http.get("/header", function() return 200, "x", {["x-a"] = "1\r\nx-b: 2"} end)
    for _, path in ipairs {"/boom", "/object", "/function", "/header"} do
      local r = http.client_for_test():get(path)
      print(r.status, r.body)
    end]])
  local r = jobrun.exec { program, "--log-format=text", dir .. "/app.lua" }
  lu.assertEquals(r.stdout, ("500\tInternal Server Error\n"):rep(4))
  lu.assertStrContains(r.stderr, "error GET /boom: " .. dir .. "/app.lua:2: the secret\nstack traceback:")
  lu.assertStrContains(r.stderr, "app.lua:3: ")
  lu.assertStrContains(r.stderr, "GET /function: a handler returned a function")
  lu.assertStrContains(r.stderr, "header x-a: control characters are not allowed")
end

function test_a_handler_may_wait_and_leave_work_behind()
  local done = false
  app.post("/work", function()
    jobrun.spawn(function()
      jobrun.sleep(0.002)
      done = true
    end)
    jobrun.sleep(0.001)
    return 202, "accepted"
  end)
  lu.assertEquals(c:post("/work").status, 202)
  lu.assertTrue(done)
end

-- ---- middleware -----------------------------------------------------------------------------------

function test_middleware_is_around_everything_in_order()
  local order = {}
  for _, name in ipairs { "a", "b" } do
    app.use(function(req, next)
      order[#order + 1] = name .. " " .. tostring(req.route)
      local r = next(req)
      r.headers["X-" .. name] = tostring(r.status)
      order[#order + 1] = name .. " " .. tostring(req.route)
      return r
    end)
  end
  app.get("/x", function() http.fail(409) end)
  local r = c:get "/x"
  lu.assertEquals({ r.status, r.headers["x-a"], r.headers["x-b"] }, { 409, "409", "409" })
  lu.assertEquals(order, { "a nil", "b nil", "b /x", "a /x" })
  lu.assertEquals(c:get("/none").headers["x-a"], "404")
end

function test_middleware_may_answer_itself_or_fail()
  app.use(function(req, next)
    if req.path == "/teapot" then return 418, { detail = "short and stout" } end
    if req.path == "/no" then http.fail(403, "no") end
    req.state.user = "ada"
    return next(req)
  end)
  app.get("/who", function(req) return req.state.user end)
  lu.assertEquals(c:get("/teapot").status, 418)
  lu.assertEquals(c:get("/no"):json(), { detail = "no" })
  lu.assertEquals(c:get("/who").body, "ada")
end

function test_groups_and_bearer_tokens()
  local admin = app.group("/admin", http.bearer "s3cret")
  admin.get("/x/{id:int}", function(req) return { req.params.id } end)
  admin.get("", function() return "itself" end)
  lu.assertEquals(c:get("/admin", { headers = { authorization = "Bearer s3cret" } }).body, "itself")
  admin.group("/deep", function(req, next) req.state.deep = true return next(req) end)
    .get("/y", function(req) return { req.state.deep } end)
  app.group("/users", http.bearer(function(token) return token == "t" and { name = "ada" } end))
    .get("/me", function(req) return req.user end)
  local function with(token) return { headers = { authorization = token } } end
  local r = c:get "/admin/x/1"
  lu.assertEquals({ r.status, r.body, r.headers["www-authenticate"] }, { 401, '{"detail":"Not authenticated"}', "Bearer" })
  for _, wrong in ipairs { "Bearer s3cre", "Bearer s3crets3cret", "Bearer", "Basic s3cret", "Bearer S3cret" } do
    lu.assertEquals(c:get("/admin/x/1", with(wrong)).status, 401, wrong)
  end
  lu.assertEquals(c:get("/admin/x/1", with "bearer s3cret").body, "[1]")
  lu.assertEquals(c:get("/admin/x/z", with "Bearer s3cret").status, 422)
  lu.assertEquals(c:get("/admin/deep/y", with "Bearer s3cret").body, "[true]")
  lu.assertEquals(c:get("/admin/deep/y").status, 401)
  lu.assertEquals(c:get("/users/me", with "Bearer t").body, '{"name":"ada"}')
  lu.assertEquals(c:get("/users/me", with "Bearer u").status, 401)
  lu.assertStrContains(failure(http.bearer, nil), "is the environment variable set?")
  lu.assertStrContains(failure(http.bearer, ""), "expected a token")
end

function test_cors()
  app.use(http.cors { origins = { "https://ops.example" }, credentials = true, max_age = "1h" })
  app.get("/x", function() return "x" end)
  local r = c:get("/x", { headers = { origin = "https://ops.example" } })
  lu.assertEquals(r.headers["access-control-allow-origin"], "https://ops.example")
  lu.assertEquals(r.headers["access-control-allow-credentials"], "true")
  lu.assertEquals(r.headers.vary, "Origin")
  r = c:get("/x", { headers = { origin = "https://evil.example" } })
  lu.assertEquals({ r.status, r.headers["access-control-allow-origin"] }, { 200, nil })
  r = c:options("/x", { headers = { origin = "https://ops.example", ["access-control-request-method"] = "PUT" } })
  lu.assertEquals({ r.status, r.headers["access-control-max-age"] }, { 204, "3600" })
  lu.assertStrContains(r.headers["access-control-allow-methods"], "PUT")
  lu.assertStrContains(failure(http.cors, { origins = { "ops.example" } }), "expected origins such as")
  lu.assertStrContains(failure(http.cors, { origins = "*", credentials = true }), "credentials need origins by name")
end

-- ---- streams and files ----------------------------------------------------------------------------

function test_streams_and_events()
  app.get("/stream", function()
    return http.stream(function(write) for i = 1, 3 do write(i .. "\n") end end, { content_type = "text/csv" })
  end)
  app.events("/events", function(req, send)
    send "plain\nlines"
    send("tick", { n = 1 }, { id = 7, retry = "2s" })
    send("last", req.headers["last-event-id"])
  end)
  lu.assertEquals(answer(c:get "/stream"), { 200, "text/csv", "1\n2\n3\n" })
  local r = c:get("/events", { headers = { ["Last-Event-ID"] = "6" } })
  lu.assertEquals(answer(r), { 200, "text/event-stream; charset=utf-8",
    'data: plain\ndata: lines\n\nevent: tick\nid: 7\nretry: 2000\ndata: {"n":1}\n\nevent: last\ndata: 6\n\n' })
  lu.assertEquals(r.headers["cache-control"], "no-cache")
end

function test_a_client_that_goes_cancels_the_stream()
  local ended
  app.events("/ticks", function(_, send)
    local _ <close> = setmetatable({}, { __close = function() ended = true end })
    for i = 1, math.huge do send { i } end
  end)
  lu.assertEquals(c:get("/ticks", { pieces = 2 }).body, "data: [1]\n\ndata: [2]\n\n")
  lu.assertTrue(ended)
end

local function folder()
  local dir = testing.tmpdir()
  fs.mkdir(dir .. "/web/sub", { parents = true })
  fs.write(dir .. "/web/index.html", "<h1>")
  fs.write(dir .. "/web/a b.txt", "0123456789")
  fs.write(dir .. "/web/.secret", "x")
  fs.write(dir .. "/outside.txt", "x")
  assert(os.execute(("ln -s ../outside.txt '%s/web/link.txt' && ln -s 'a b.txt' '%s/web/inside.txt'"):format(dir, dir)))
  return dir .. "/web"
end

function test_static_files()
  app.static("/ui", folder(), { max_age = "1h" })
  lu.assertEquals(answer(c:get "/ui/"), { 200, "text/html; charset=utf-8", "<h1>" })
  lu.assertEquals({ c:get("/ui").status, c:get("/ui").headers.location }, { 308, "/ui/" })
  lu.assertEquals(answer(c:get "/ui/a%20b.txt"), { 200, TEXT, "0123456789" })
  lu.assertEquals(c:get("/ui/inside.txt").body, "0123456789")
  lu.assertEquals(c:get("/ui/index.html").headers["cache-control"], "max-age=3600")
  lu.assertEquals({ c:get("/ui/sub").status, c:get("/ui/sub").headers.location }, { 308, "/ui/sub/" })
  lu.assertEquals(c:head("/ui/a%20b.txt").headers["content-length"], "10")
  for _, path in ipairs { "/ui/none", "/ui/.secret", "/ui/sub/", "/ui/link.txt", "/ui/../outside.txt", "/ui/%2e%2e/outside.txt",
    "/ui/..%2foutside.txt", "/ui/sub/../../outside.txt", "/ui//etc/passwd", "/ui/%2fetc%2fpasswd", "/ui/a%00b",
    "/ui/..%5coutside.txt" } do
    lu.assertEquals(c:get(path).status, 404, path)
  end
end

function test_etags_and_ranges()
  app.static("/ui", folder())
  local function get(headers)
    local r = c:get("/ui/a%20b.txt", { headers = headers })
    return { r.status, r.body, r.headers["content-range"] }
  end
  local etag = c:get("/ui/a%20b.txt").headers.etag
  lu.assertEquals(get { ["if-none-match"] = etag }, { 304, "" })
  lu.assertEquals(get { ["if-none-match"] = '"other", W/' .. etag }, { 304, "" })
  lu.assertEquals(get { ["if-none-match"] = '"other"' }, { 200, "0123456789" })
  lu.assertEquals(get { range = "bytes=2-4" }, { 206, "234", "bytes 2-4/10" })
  lu.assertEquals(get { range = "bytes=7-" }, { 206, "789", "bytes 7-9/10" })
  lu.assertEquals(get { range = "bytes=-2" }, { 206, "89", "bytes 8-9/10" })
  lu.assertEquals(get { range = "bytes=0-99" }, { 206, "0123456789", "bytes 0-9/10" })
  lu.assertEquals(get { range = "bytes=10-" }, { 416, "", "bytes */10" })
  lu.assertEquals(get { range = "bytes=4-2" }, { 200, "0123456789" })
  lu.assertEquals(get { range = "bytes=0-1,3-4" }, { 200, "0123456789" })
  lu.assertEquals(get { range = "bytes=0-1", ["if-range"] = '"old"' }, { 200, "0123456789" })
  lu.assertEquals(get { range = "bytes=0-1", ["if-range"] = etag }, { 206, "01", "bytes 0-1/10" })
end

function test_a_big_file_comes_in_pieces()
  local dir = testing.tmpdir()
  local bytes = ("0123456789abcdef"):rep(40000)
  fs.write(dir .. "/big.bin", bytes)
  app.get("/big", function() return http.file(dir .. "/big.bin", { download = 'my "file"' }) end)
  app.get("/none", function() return http.file(dir .. "/none") end)
  local r = c:get "/big"
  lu.assertTrue(r.body == bytes)
  lu.assertEquals(r.headers["content-disposition"], 'attachment; filename="my _file_"')
  lu.assertEquals(c:get("/none").status, 404)
end

-- ---- declarations ---------------------------------------------------------------------------------

local function nop() end

function test_bad_declarations_fail_at_their_line()
  lu.assertStrContains(failure(app.get, "items", nop), "expected a path that begins with /")
  lu.assertStrContains(failure(app.get, "/x"), "expected a function as the last argument, got nil")
  lu.assertStrContains(failure(app.get, "/{id:itn}", nop), "did you mean 'int'?")
  lu.assertStrContains(failure(app.get, "/a{id}", nop), "as a whole segment")
  lu.assertStrContains(failure(app.get, "/{a}/{a}", nop), "{a} is there twice")
  lu.assertStrContains(failure(app.get, "/{a:path}/b", nop), "it must come last")
  lu.assertStrContains(failure(app.get, "/x", { qery = {} }, nop), "did you mean 'query'?")
  lu.assertStrContains(failure(app.get, "/x", { query = { a = "int" } }, nop), "query.a: expected a type")
  lu.assertStrContains(failure(app.get, "/x", { query = { a = t.map(t.int) } }, nop), "t.map has no form as plain text")
  lu.assertStrContains(failure(app.get, "/x", { body = t.any }, nop), "has no body to declare")
  lu.assertStrContains(failure(app.use, 5), "expected a function (req, next), got 5")
  lu.assertStrContains(failure(app.group, "admin"), 'expected a path such as "/admin"')
  app.get("/x/{id}", nop)
  lu.assertStrContains(failure(app.get, "/x/{name:int}", nop), "GET /x/{id} leads here already (")
end

function test_routes_that_nothing_serves_are_an_error()
  local dir = testing.tmpdir()
  fs.write(dir .. "/app.lua", 'local http = require "jobrun.http"\n\nhttp.get("/x", print)\nevery(1).hour(print)')
  local r = jobrun.exec { program, dir .. "/app.lua", check = false }
  lu.assertEquals(r.exit_code, 2)
  lu.assertStrContains(r.stderr, 'app.lua:3: http.get "/x": the routes are never served: write http.listen')
end

-- ---- the description ------------------------------------------------------------------------------

function test_the_description_of_the_routes()
  local query, body = { q = t.string { optional = true } }, t.object { name = t.string }
  app.put("/items/{id:int}", { query = query, body = body, summary = "Change" }, nop)
  app.group("/admin", http.bearer "x").get("/stats", nop)
  app.get("/hidden", { hidden = true }, nop)
  local api = app.openapi { title = "Jobs", version = "2" }
  lu.assertEquals({ api.openapi, api.info.title }, { "3.1.0", "Jobs" })
  lu.assertNil(api.paths["/hidden"])
  local put = api.paths["/items/{id}"].put
  lu.assertEquals({ put.summary, put.operationId }, { "Change", "put_items_id" })
  lu.assertEquals(json.encode(put.parameters), '[{"in":"path","name":"id","required":true,"schema":{"type":"integer"}},'
    .. '{"in":"query","name":"q","required":false,"schema":{"type":["string","null"]}}]')
  lu.assertTrue(put.requestBody.required)
  lu.assertNotNil(put.responses["422"])
  lu.assertEquals(json.encode(api.paths["/admin/stats"].get.security), '[{"bearer":[]}]')
  lu.assertEquals(api.components.securitySchemes.bearer.scheme, "bearer")
end

function test_the_page_about_the_routes_needs_nothing_from_elsewhere()
  app.docs("/docs", { title = "Jobs" })
  app.get("/x", nop)
  local size = 0
  for path, kind in pairs { ["/docs"] = "html", ["/docs/docs.css"] = "css", ["/docs/docs.js"] = "javascript" } do
    local r = c:get(path)
    size = size + #r.body
    lu.assertEquals({ r.status, r.headers["content-type"] }, { 200, "text/" .. kind .. "; charset=utf-8" })
    lu.assertStrContains(r.headers["content-security-policy"], "default-src 'none'; script-src 'self'")
    lu.assertNil(r.body:find "https?://")
    lu.assertNil(r.body:find "style=")
  end
  lu.assertTrue(size <= 10 * 1024)
  lu.assertEquals(c:get("/docs/openapi.json"):json().info.title, "Jobs")
end

for name, test in pairs(_G) do
  if type(name) == "string" and name:find "^test_" then
    _G[name] = function()
      app = http.app()
      c = app.client_for_test()
      test()
    end
  end
end
