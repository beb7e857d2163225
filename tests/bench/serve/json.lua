-- For wrk: the body of the JSON bench.
-- luacheck: globals wrk
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"id":4711,"name":"Widget","qty":3,"price":9.5,"tags":["a","b","c"]}'
