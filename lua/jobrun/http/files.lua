--- Files as responses: types, ETag, ranges (RFC 9110 §13, §14), and folders of them.
---
--- A file is read in pieces on the threadpool, so a big one takes no more memory than a small one.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.http"
local err = require "jobrun.core.error"
local response = require "jobrun.http.response"

local M = {}

local PIECE <const> = 256 * 1024

local TYPES = {
  html = "text/html; charset=utf-8", css = "text/css; charset=utf-8", js = "text/javascript; charset=utf-8",
  mjs = "text/javascript; charset=utf-8", json = "application/json", txt = "text/plain; charset=utf-8",
  md = "text/markdown; charset=utf-8",
  csv = "text/csv; charset=utf-8", xml = "application/xml", svg = "image/svg+xml", png = "image/png", jpg = "image/jpeg",
  jpeg = "image/jpeg", gif = "image/gif", webp = "image/webp", avif = "image/avif", ico = "image/vnd.microsoft.icon",
  pdf = "application/pdf", wasm = "application/wasm", woff = "font/woff", woff2 = "font/woff2", gz = "application/gzip",
  zip = "application/zip", mp4 = "video/mp4", m4s = "video/iso.segment", webm = "video/webm", mkv = "video/x-matroska",
  ts = "video/mp2t", mov = "video/quicktime", m3u8 = "application/vnd.apple.mpegurl", mpd = "application/dash+xml",
  mp3 = "audio/mpeg", m4a = "audio/mp4", opus = "audio/ogg", ogg = "audio/ogg", wav = "audio/wav", flac = "audio/flac",
  vtt = "text/vtt; charset=utf-8",
  srt = "application/x-subrip",
}

---The media type by the name's ending.
function M.type_of(path)
  return TYPES[(path:match "%.(%w+)$" or ""):lower()] or "application/octet-stream"
end

local FILE_OPTIONS = { content_type = "string", download = "boolean|string", headers = "table", status = "integer" }

---A response that is a file. (see http.file)
function M.file(path, options)
  local o = check.options("http.file", options or {}, FILE_OPTIONS)
  if type(path) ~= "string" then check.fail("http.file: expected a path, got %s", check.show(path)) end
  local r = response.new(o.status or 200, o.content_type or M.type_of(path), nil, o.headers)
  r.file = path
  if o.download then
    local name = type(o.download) == "string" and o.download or path:match "[^/]*$"
    r.headers["content-disposition"] = ('attachment; filename="%s"'):format((name:gsub('[%c"\\]', "_")))
  end
  return r
end

local function lists_tag(field, tag)
  if field == "*" then return true end
  for one in field:gmatch '"[^"]*"' do
    if one == tag then return true end
  end
  return false
end

-- Has the client this version already?
local function is_known(req, r)
  local tags = req.headers["if-none-match"]
  if tags then return lists_tag(tags, r.headers.etag) end
  return req.headers["if-modified-since"] == r.headers["last-modified"]
end

-- The first and last byte of "bytes=…", one range alone; nil: the whole file; false: beyond its end.
local function range_of(field, size)
  local first, last = field:match "^%s*bytes=%s*(%d*)%s*%-%s*(%d*)%s*$"
  if not first or first == "" and last == "" or #first > 18 or #last > 18 then return nil end
  first, last = tonumber(first), tonumber(last)
  if not first then
    if last == 0 then return false end
    return math.max(0, size - last), size - 1
  end
  if last and last < first then return nil end
  if first >= size then return false end
  return first, math.min(last or size - 1, size - 1)
end

local function read_piece(path, offset, n)
  local file <close> = assert(io.open(path, "rb"))
  file:seek("set", offset)
  return file:read(n)
end

local function streamer(path, first, last)
  return function(write)
    local blocking = require("jobrun.executor").blocking
    while first <= last do
      local piece = blocking(read_piece, path, first, math.min(PIECE, last - first + 1))
      if not piece then error(err.new { kind = "broken_pipe", message = path .. " became shorter while it was sent" }) end
      write(piece)
      first = first + #piece
    end
  end
end

local function send_range(req, r, size)
  local field, condition = req.headers.range, req.headers["if-range"]
  if not field or req.method ~= "GET" or r.status ~= 200 then return 0, size - 1 end
  if condition and condition ~= r.headers.etag and condition ~= r.headers["last-modified"] then return 0, size - 1 end
  local first, last = range_of(field, size)
  if first == nil then return 0, size - 1 end
  if first == false then
    r.headers["content-range"] = "bytes */" .. size
    r.status, r.headers["content-type"] = 416, nil
    return 0, -1
  end
  r.status = 206
  r.headers["content-range"] = ("bytes %d-%d/%d"):format(first, last, size)
  return first, last
end

---Turns a response with `file` into one that is read: looks at the file, and at what of it was asked for. (suspends)
function M.open(req, r)
  local fs = require "jobrun.fs"
  local path = r.file
  local stat = fs.stat(path)
  if not stat or stat.type ~= "file" then response.fail(404) end
  r.headers.etag = ('"%x-%x-%x"'):format(stat.ino, stat.size, math.floor(stat.mtime * 1e6))
  r.headers["last-modified"] = core.date(stat.mtime)
  r.headers["accept-ranges"] = "bytes"
  if is_known(req, r) and r.status == 200 then
    r.status = 304
    return
  end
  local first, last = send_range(req, r, stat.size)
  r.headers["content-length"] = last - first + 1
  if last < first then
    r.body = ""
  else
    r.stream = streamer(path, first, last)
  end
end

-- ---- folders ------------------------------------------------------------------------------------

-- No dot-files, nothing that leads upwards, nothing a file system reads otherwise than we do.
local function is_safe(path)
  if path:find "[%z\\]" or path:find("//", 1, true) or path:sub(1, 1) == "/" then return false end
  return not (path:find "^%." or path:find("/.", 1, true))
end

local STATIC_OPTIONS = { index = { type = "string", default = "index.html" }, max_age = "duration" }

---The handler for the files of a folder; `req.params.file` is the path in it. (see http.static)
function M.folder(directory, options)
  local fs = require "jobrun.fs"
  local o = check.options("http.static", options or {}, STATIC_OPTIONS)
  if type(directory) ~= "string" or directory == "" then
    check.fail("http.static: expected a folder, got %s", check.show(directory))
  end
  local age = o.max_age and ("max-age=%d"):format(math.floor(o.max_age)) or "no-cache"
  return function(req)
    local path = req.params.file
    if path == "" or path:sub(-1) == "/" then path = path .. o.index end
    if not is_safe(path) then response.fail(404) end
    local root = fs.realpath(directory)
    local ok, real = pcall(fs.realpath, root .. "/" .. path)
    if not ok or real:sub(1, #root + 1) ~= root .. "/" then response.fail(404) end
    local stat = fs.stat(real)
    if stat and stat.type == "directory" then
      local r = response.new(308)
      r.headers.location = req.path .. "/"
      return r
    end
    return M.file(real, { content_type = M.type_of(path), headers = { ["cache-control"] = age } })
  end
end

return M
