-- json.encode, json.decode, json.null, json.array.
local lu = require "luaunit"
local json, blocking = require("jobrun").json, require("jobrun").blocking

local function failure(fn, ...)
  local ok, e = pcall(fn, ...)
  lu.assertFalse(ok)
  return e
end

local function refuses(value, message, options)
  local e = failure(json.encode, value, options)
  lu.assertEquals(e.kind, "usage")
  lu.assertEquals(e.message, "json.encode: " .. message)
end

function test_what_is_written_reads_back_the_same()
  for _, text in ipairs {
    "null", "true", "false", "0", "-1", "9223372036854775807", "-9223372036854775808", "1.0", "-0.0", "0.1", "1e+100",
    "12.345", "0.3333333333333333",
    "1.7976931348623157e+308", '""', '"a\\"b\\\\c\\n\\u0001"', '"é日本😀"', "[]", "{}", "[[],{}]",
    "[1,2.5,null,[true]]", '{"a":[],"b":{"c":{}},"z":null}', '{"":1,"\\u0000":2}',
  } do
    lu.assertEquals(json.encode(json.decode(text)), text)
  end
end

function test_integers_stay_integers_and_floats_floats()
  lu.assertEquals(math.type(json.decode "5"), "integer")
  lu.assertEquals(math.type(json.decode "5.0"), "float")
  lu.assertEquals(math.type(json.decode "5e0"), "float")
  lu.assertEquals(json.decode "9223372036854775808", 2.0 ^ 63)
  lu.assertEquals(json.decode "-9223372036854775808", math.mininteger)
  lu.assertEquals(json.encode { 3 // 1, 3.0, 1e15, 123456789.25, -2.5e-7 }, "[3,3.0,1e+15,123456789.25,-2.5e-07]")
end

function test_numbers_read_exactly()
  for _, text in ipairs { "0.1", "123456789012345678", "1.2345678901234567e-200", "9007199254740993.0", "4.35",
    "179769313486231570000000000000000000000", "2.2250738585072011e-308", "0." .. ("3"):rep(800) } do
    lu.assertEquals(json.decode(text), tonumber(text))
  end
  lu.assertEquals(json.decode("1" .. ("0"):rep(400) .. "e-400"), 1.0)
end

function test_floats_are_written_so_that_they_read_back()
  local seed = 42
  for _ = 1, 2000 do
    seed = seed * 6364136223846793005 + 1442695040888963407
    local x = string.unpack("d", string.pack("j", seed))
    if x == x and x ~= math.huge and x ~= -math.huge then lu.assertEquals(json.decode(json.encode(x)), x) end
    local y = (seed >> 33) / 1000
    lu.assertEquals(json.decode(json.encode(y)), y)
  end
end

function test_keys_are_sorted_and_lines_indented()
  lu.assertEquals(json.encode { b = 1, a = { d = 2, c = 3 }, ab = 4 }, '{"a":{"c":3,"d":2},"ab":4,"b":1}')
  lu.assertEquals(json.encode({ b = { 1, {} }, a = {}, c = json.array {} }, { pretty = true }),
    '{\n  "a": {},\n  "b": [\n    1,\n    {}\n  ],\n  "c": []\n}')
  lu.assertEquals(json.encode({ 1 }, { pretty = 4 }), "[\n    1\n]")
  local many = {}
  for i = 1, 1000 do many[("k%04d"):format(i)] = i end
  local text = json.encode(many)
  lu.assertStrContains(text, '{"k0001":1,"k0002":2,')
  lu.assertEquals(json.decode(json.encode(many, { sort = false })), many)
end

function test_lists_keep_being_lists()
  lu.assertEquals(json.encode(json.array()), "[]")
  local list = json.decode "[1]"
  table.remove(list)
  lu.assertEquals(json.encode(list), "[]")
  lu.assertEquals(json.encode {}, "{}")
  local long = {}
  for i = 1, 1000 do long[i] = i end
  lu.assertEquals(json.decode(json.encode(long)), json.array(long))
  local backwards = {} -- its items are in the hash part
  for i = 20, 1, -1 do backwards[i] = i end
  lu.assertEquals(#json.decode(json.encode(backwards)), 20)
end

function test_the_later_of_two_equal_keys_counts()
  lu.assertEquals(json.decode '{"a":1,"b":2,"a":3}', { a = 3, b = 2 })
end

function test_what_has_no_json_form_is_named_by_its_path()
  refuses({ jobs = { 1, { name = print } } }, "jobs[2].name: a function has no JSON form")
  refuses({ 0 / 0 }, "[1]: NaN has no JSON form")
  refuses({ x = -math.huge }, "x: an infinity has no JSON form")
  refuses({ r = { 1, 2, a = 3 } }, "r: a table is a list or an object, and this one has items and the key 'a'")
  refuses({ a = { [7] = 1 } }, "a: a table is a list (keys from 1, no holes) or an object (names), and this one has the key 7")
  refuses({ 1, nil, 3 }, "a list with holes: use json.null for what is not there")
  refuses({ 1, [2.5] = 1 }, "a list has the keys 1 to 1 and no others, and this one has 2.5")
  refuses({ [true] = 1 }, "keys must be strings, and this table has a boolean")
  refuses({ name = "a\xff" }, "name: the string is not UTF-8 (byte 2): encode binary data, as base64 for example, "
    .. 'or say invalid="replace"')
  lu.assertStrContains(failure(json.encode, { ["\xff"] = 1 }).message, "the key is not UTF-8")
end

function test_depth_is_bounded_both_ways()
  local deep = ("["):rep(128) .. ("]"):rep(128)
  lu.assertEquals(json.encode(json.decode(deep)), deep)
  lu.assertStrContains(failure(json.decode, "[" .. deep .. "]").message, "column 129: nested more than 128 levels deep")
  local loop = {}
  loop.loop = loop
  lu.assertStrContains(failure(json.encode, loop).message, "nested more than 128 levels deep: does a table contain itself?")
  lu.assertEquals(json.encode { 1 }, "[1]") -- the next call is as ever
end

function test_errors_say_where()
  for text, expected in pairs {
    [""] = { 1, 1, "expected a value (string, number, true, false, null, [ or {), but the text ends here" },
    ["[1,\n 2,,]"] = { 2, 4, "expected a value (string, number, true, false, null, [ or {), got ','" },
    ["[1,]"] = { 1, 4, "expected a value (string, number, true, false, null, [ or {), got ']'" },
    ['{"é":1,}'] = { 1, 8, "expected a key in quotes, got '}'" },
    ['{"a" 1}'] = { 1, 6, "expected ':', got '1'" },
    ["[1 2]"] = { 1, 4, "expected ',' or ']', got '2'" },
    ["[1] x"] = { 1, 5, "expected the end of the text, got 'x'" },
    ['"abc'] = { 1, 5, "the string has no end" },
    ['"\xc0\x80"'] = { 1, 2, "not UTF-8" },
    ["01"] = { 1, 1, "a number does not begin with 0" },
    ["1."] = { 1, 3, "expected a digit behind the point" },
    ["-x"] = { 1, 2, "expected a digit" },
    ["1e999"] = { 1, 1, "too large for a number" },
    ['["\\ud800"]'] = { 1, 3, "half of a surrogate pair" },
    ['"\\x"'] = { 1, 2, "unknown escape: only \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX exist" },
    ['"\t"'] = { 1, 2, "a control character in a string must be written as an escape" },
    ["\xef\xbb\xbf1"] = { 1, 1, "expected a value (string, number, true, false, null, [ or {), got byte 0xEF" },
    ["nul"] = { 1, 1, "expected a value (string, number, true, false, null, [ or {), got 'n'" },
    ["NaN"] = { 1, 1, "expected a value (string, number, true, false, null, [ or {), got 'N'" },
  } do
    local e = failure(json.decode, text)
    lu.assertEquals({ e.line, e.column, e.reason }, expected, text)
    lu.assertEquals(e.kind, "json")
    lu.assertStrContains(e.where, "json_test.lua:")
  end
end

function test_invalid_text_can_be_replaced()
  lu.assertEquals(json.encode({ "a\xff\xfeb" }, { invalid = "replace" }), '["a\u{FFFD}\u{FFFD}b"]')
  lu.assertEquals(json.decode('"a\xffb\\ud800c"', { invalid = "replace" }), "a\u{FFFD}b\u{FFFD}c")
end

function test_wrong_use_is_told()
  lu.assertEquals(failure(json.decode, 5).message, "json.decode: expected a string, got number")
  lu.assertStrContains(failure(json.encode, 1, { prety = true }).message, "did you mean 'pretty'?")
  lu.assertStrContains(failure(json.encode, 1, { pretty = 99 }).message, "expected 0 to 16 spaces")
  lu.assertStrContains(failure(json.decode, "1", { invalid = "x" }).message, 'expected one of "error", "replace"')
  lu.assertEquals(failure(json.array, 1).message, "json.array: expected a table, got number")
end

function test_a_worker_has_it_too()
  lu.assertEquals(blocking(function(text) return json.decode(text).a[2] end, '{"a":[1,2]}'), 2)
  lu.assertEquals(blocking(json.encode, { 1, { a = 2 } }), '[1,{"a":2}]')
end
