-- app.lua PORT: the routes of the HTTP benches.
local t = http.t
local doc = t.object { id = t.int, name = t.string, qty = t.int, price = t.number, tags = t.list(t.string) }

http.get("/hello", function() return "Hello, World!" end)

http.post("/json", { body = doc }, function(req)
  local d = req.body
  return { id = d.id, name = d.name, ok = true, total = d.qty * d.price, tags = d.tags }
end)

http.listen(math.tointeger(tonumber(arg[1])))
