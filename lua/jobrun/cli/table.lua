--- Rows of text in columns.
--
-- SPDX-License-Identifier: MIT

local M = {}

local function width_of(text)
  return utf8.len(text) or #text
end

---Prints rows of equal length, their columns two spaces apart. What a terminal would obey is shown as "?".
---@param rows string[][]
function M.print(rows)
  local width = {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do
      row[i] = text:gsub("%c", "?")
      width[i] = math.max(width[i] or 0, width_of(row[i]))
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, text in ipairs(row) do cells[i] = text .. (" "):rep(width[i] - width_of(text)) end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
end

return M
