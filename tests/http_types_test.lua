-- http.t: what is taken, what is said of the rest, and the JSON Schema of it.
local lu = require "luaunit"
local jobrun = require "jobrun"
local http, json = require "jobrun.http", jobrun.json
local t = http.t

local function failure(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "usage")
  return e.message
end

-- What the body `text` becomes under a type: the value, or the list of errors.
local function read(type, text)
  local app = http.app()
  local seen
  app.post("/", { body = type }, function(req) seen = { req.body } end)
  local r = app.client_for_test():post("/", { body = text })
  if r.status == 204 then return seen[1] end
  lu.assertEquals(r.status, 422)
  return nil, r:json().detail
end

local function refused(type, text, kind, msg, ctx)
  local value, errors = read(type, text)
  lu.assertNil(value)
  lu.assertEquals(#errors, 1)
  lu.assertEquals({ errors[1].type, errors[1].msg, errors[1].ctx }, { kind, msg, ctx })
end

function test_integers()
  lu.assertEquals(read(t.int, "5"), 5)
  lu.assertEquals(read(t.int, "5.0"), 5)
  lu.assertEquals(math.type(read(t.int, "5.0")), "integer")
  lu.assertEquals(read(t.int, '" -007 "'), -7)
  lu.assertEquals(read(t.int, '"9223372036854775807"'), math.maxinteger)
  refused(t.int, '"x"', "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
  refused(t.int, '"9223372036854775808"', "int_parsing_size",
    "Unable to parse input string as an integer, exceeded maximum size")
  refused(t.int, "5.5", "int_from_float", "Input should be a valid integer, got a number with a fractional part")
  refused(t.int, "null", "int_type", "Input should be a valid integer")
  refused(t.int, "true", "int_type", "Input should be a valid integer")
end

function test_bounds()
  refused(t.int { above = 0 }, "0", "greater_than", "Input should be greater than 0", { gt = 0 })
  refused(t.int { min = 1 }, "0", "greater_than_equal", "Input should be greater than or equal to 1", { ge = 1 })
  refused(t.number { below = 1.5 }, "1.5", "less_than", "Input should be less than 1.5", { lt = 1.5 })
  refused(t.int { max = 9 }, "10", "less_than_equal", "Input should be less than or equal to 9", { le = 9 })
  refused(t.int { multiple_of = 5 }, "7", "multiple_of", "Input should be a multiple of 5", { multiple_of = 5 })
  lu.assertEquals(read(t.int { min = 1, max = 9, above = 0, below = 10, multiple_of = 3 }, "9"), 9)
end

function test_numbers_and_booleans()
  lu.assertEquals(read(t.number, "1.5"), 1.5)
  lu.assertEquals(read(t.number, '"1e3"'), 1000.0)
  refused(t.number, '"1,5"', "float_parsing", "Input should be a valid number, unable to parse string as a number")
  refused(t.number, '"0x10"', "float_parsing", "Input should be a valid number, unable to parse string as a number")
  refused(t.number, "[]", "float_type", "Input should be a valid number")
  lu.assertEquals(read(t.boolean, "false"), false)
  lu.assertEquals(read(t.boolean, '"Yes"'), true)
  lu.assertEquals(read(t.boolean, "0"), false)
  refused(t.boolean, '"maybe"', "bool_parsing", "Input should be a valid boolean, unable to interpret input")
  refused(t.boolean, "2", "bool_type", "Input should be a valid boolean")
end

function test_text()
  lu.assertEquals(read(t.string, '"é"'), "é")
  refused(t.string, "5", "string_type", "Input should be a valid string")
  lu.assertEquals(read(t.string { min_length = 2, max_length = 2 }, '"éé"'), "éé") -- characters, not bytes
  refused(t.string { min_length = 1 }, '""', "string_too_short", "String should have at least 1 character",
    { min_length = 1 })
  refused(t.string { max_length = 2 }, '"abc"', "string_too_long", "String should have at most 2 characters",
    { max_length = 2 })
  refused(t.string { pattern = "^%d+$" }, '"x"', "string_pattern_mismatch", "String should match pattern '^%d+$'",
    { pattern = "^%d+$" })
end

function test_dates_and_uuids()
  lu.assertEquals(read(t.date, '"2024-02-29"'), "2024-02-29")
  refused(t.date, '"2023-02-29"', "date_parsing", "Input should be a valid date")
  for _, text in ipairs { "2025-03-30T01:30:00Z", "2025-03-30T01:30:00.123+02:00", "2025-03-30 01:30:00" } do
    lu.assertEquals(read(t.datetime, json.encode(text)), text)
  end
  refused(t.datetime, '"2025-03-30T25:30:00Z"', "datetime_parsing", "Input should be a valid datetime")
  refused(t.datetime, '"2025-03-30T01:30:00+2"', "datetime_parsing", "Input should be a valid datetime")
  lu.assertEquals(read(t.uuid, '"123e4567-e89b-12d3-a456-426614174000"'), "123e4567-e89b-12d3-a456-426614174000")
  refused(t.uuid, '"123"', "uuid_parsing", "Input should be a valid UUID")
end

function test_enums()
  lu.assertEquals(read(t.enum("a", "b"), '"b"'), "b")
  lu.assertEquals(read(t.enum { 1, 2 }, "2"), 2)
  refused(t.enum("a", "b", "c"), '"d"', "enum", "Input should be 'a', 'b' or 'c'", { expected = "'a', 'b' or 'c'" })
end

function test_lists_and_maps()
  lu.assertEquals(read(t.list(t.int), "[1,2]"), json.array { 1, 2 })
  refused(t.list(t.int), "{}", "list_type", "Input should be a valid list")
  refused(t.list(t.int) { min_length = 2 }, "[1]", "too_short", "List should have at least 2 items after validation, not 1",
    { field_type = "List", min_length = 2, actual_length = 1 })
  lu.assertEquals(read(t.map(t.int), '{"a":1}'), { a = 1 })
  refused(t.map(t.int), "[]", "dict_type", "Input should be a valid dictionary")
  local _, errors = read(t.list(t.int), '[1,"x",null]')
  lu.assertEquals({ errors[1].loc, errors[2].loc, #errors }, { json.array { "body", 1 }, json.array { "body", 2 }, 2 })
end

function test_objects_collect_all_errors_with_their_place()
  local note = t.string { optional = true }
  local job = t.object { name = t.string, qty = t.int { above = 0 }, at = t.object { x = t.number }, note = note }
  lu.assertEquals(read(job, '{"name":"a","qty":"3","at":{"x":1},"note":null,"more":1}'),
    { name = "a", qty = 3, at = { x = 1 } })
  local _, errors = read(job, '{"qty":0,"at":{}}')
  local seen = {}
  for _, e in ipairs(errors) do seen[#seen + 1] = table.concat(e.loc, ".") .. " " .. e.type end
  lu.assertEquals(seen, { "body.at.x missing", "body.name missing", "body.qty greater_than" })
  lu.assertEquals(errors[1].input, {})
  refused(job, "[]", "model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
end

function test_extra_fields()
  local fields = { a = t.int }
  refused(t.object(fields) { extra = "forbid" }, '{"a":1,"b":2}', "extra_forbidden", "Extra inputs are not permitted")
  lu.assertEquals(read(t.object(fields) { extra = "allow" }, '{"a":1,"b":2}'), { a = 1, b = 2 })
end

function test_defaults_are_not_shared_between_requests()
  local app = http.app()
  app.post("/", { body = t.object { tags = t.list(t.string) { default = {} } } }, function(req)
    table.insert(req.body.tags, "x")
    return req.body
  end)
  local c = app.client_for_test()
  lu.assertEquals(c:post("/", { json = {} }).body, '{"tags":["x"]}')
  lu.assertEquals(c:post("/", { json = {} }).body, '{"tags":["x"]}')
end

function test_bad_types_are_told_where_they_are_made()
  lu.assertStrContains(failure(t.int, { mni = 1 }), "did you mean 'min'?")
  lu.assertStrContains(failure(t.int, { min = 5, max = 1 }), "min 5 is more than max 1")
  lu.assertStrContains(failure(t.int, { min = 1, default = 0 }), "default 0: Input should be greater than or equal to 1")
  lu.assertStrContains(failure(t.string, { pattern = "[" }), 'pattern "["')
  lu.assertStrContains(failure(t.object, { a = "int" }), "field 'a': expected a type such as t.string, got \"int\"")
  lu.assertStrContains(failure(t.object, { a = { b = t.int } }), "write t.object")
  lu.assertStrContains(failure(t.object, { a = t.enum }), "t.enum needs its values")
  lu.assertStrContains(failure(function() return t.integre end), "no type \"integre\"")
end

function test_the_schema_of_types()
  lu.assertEquals(json.encode(t.object {
    a = t.int { min = 1, below = 9, default = 2, description = "A." },
    b = t.list(t.string { pattern = "^%d+[%a_]*$" }) { max_length = 3 },
    c = t.enum("x", "y") { optional = true },
    d = t.map(t.number) { optional = true },
    e = t.datetime,
  } { extra = "forbid" }:schema()), '{"additionalProperties":false,"properties":{'
    .. '"a":{"default":2,"description":"A.","exclusiveMaximum":9,"minimum":1,"type":"integer"},'
    .. '"b":{"items":{"pattern":"^[0-9]+[A-Za-z_]*$","type":"string"},"maxItems":3,"type":"array"},"c":{"enum":["x","y"]},'
    .. '"d":{"additionalProperties":{"type":"number"},"type":["object","null"]},"e":{"format":"date-time","type":"string"}},'
    .. '"required":["b","e"],"type":"object"}')
  lu.assertNil(t.string { pattern = "%b()" }:schema().pattern) -- no regular expression says that
end
