--- The page of http.docs: an application's routes, to read and to try. Nothing of it comes from elsewhere, and it holds
--- under a Content-Security-Policy without inline scripts or styles.
--
-- SPDX-License-Identifier: MIT

local openapi = require "jobrun.http.openapi"
local response = require "jobrun.http.response"

local M = {}

local PAGE = [[<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>API</title><link rel="stylesheet" href="%s/docs.css"><link rel="icon" href="data:,"></head>
<body><header><h1 id="title">API</h1><p id="about"></p>
<p><label>Filter <input id="filter" type="search"></label>
<label>Bearer token <input id="token" autocomplete="off" spellcheck="false"></label>
<a href="%s/openapi.json">openapi.json</a></p></header>
<main id="routes" aria-live="polite">Loading…</main><noscript>This page needs JavaScript; openapi.json does not.</noscript>
<script src="%s/docs.js"></script></body></html>
]]

local STYLE = [[:root{color-scheme:light dark;--line:#8886;--get:#0a58ca;--post:#146c43;--put:#8a5a00;--delete:#b02a37}
@media(prefers-color-scheme:dark){:root{--get:#7db3ff;--post:#6fd3a0;--put:#ffc46b;--delete:#ff8a94}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
details{border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0}
summary{padding:.5rem;cursor:pointer;overflow-wrap:anywhere}
details>div{padding:0 .8rem .8rem}
code,pre,textarea,.path{font-family:ui-monospace,monospace;font-size:.9rem}
.method{display:inline-block;min-width:4.5rem;font-weight:700;color:var(--put)}
.get{color:var(--get)}.post{color:var(--post)}.delete{color:var(--delete)}
table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid var(--line);padding:.3rem;text-align:left;vertical-align:top}
input,textarea,button{font:inherit;padding:.25rem .4rem;max-width:100%;box-sizing:border-box}
textarea{width:100%;min-height:6rem}pre{overflow:auto;max-height:24rem;border:1px solid var(--line);padding:.5rem}
:focus-visible{outline:3px solid var(--get);outline-offset:2px}
]]

local SCRIPT = [["use strict";
const $ = (tag, props, ...kids) => {
  const e = Object.assign(document.createElement(tag), props || {});
  e.append(...kids.filter((k) => k != null));
  return e;
};
const base = document.currentScript.src.replace(/\/docs\.js$/, "");
let count = 0;
const typeOf = (s) => {
  if (!s) return "any";
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(" | ");
  const t = [].concat(s.type || "any").join(" | ");
  return t === "array" ? "list of " + typeOf(s.items) : s.format ? t + " (" + s.format + ")" : t;
};
const LIMITS = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
  "minItems", "maxItems", "pattern", "default"];
const limits = (s) => LIMITS.filter((k) => s && s[k] !== undefined).map((k) => k + " " + JSON.stringify(s[k])).join(", ");
const example = (s) => {
  if (!s) return null;
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  const t = [].concat(s.type)[0];
  if (t === "object") return Object.fromEntries(Object.entries(s.properties || {}).map(([k, v]) => [k, example(v)]));
  if (t === "array") return s.items ? [example(s.items)] : [];
  if (t === "integer" || t === "number") return s.minimum ?? (s.exclusiveMinimum !== undefined ? s.exclusiveMinimum + 1 : 0);
  return t === "boolean" ? false : t === "string" ? "text" : null;
};
async function send(method, path, fields, body, out) {
  const headers = {}, query = new URLSearchParams();
  for (const [p, input] of fields) {
    if (p.in === "path") path = path.replace("{" + p.name + "}", encodeURIComponent(input.value));
    else if (input.value === "") continue;
    else if (p.in === "query") {
      const values = p.schema.type === "array" ? input.value.split(",") : [input.value];
      for (const v of values) query.append(p.name, v);
    } else headers[p.name] = input.value;
  }
  const token = document.getElementById("token").value;
  if (token) headers.authorization = "Bearer " + token;
  if (body) headers["content-type"] = "application/json";
  out.textContent = "…";
  const began = performance.now(), stop = new AbortController();
  try {
    const url = path + (query.size ? "?" + query : "");
    const r = await fetch(url, { method, headers, body: body && body.value, signal: stop.signal });
    const ms = Math.round(performance.now() - began);
    const head = method + " " + url + "\n" + r.status + " " + r.statusText + ", " + ms + " ms\n";
    let text = "";
    if (r.body && /event-stream/.test(r.headers.get("content-type"))) {
      const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part; text.length < 20000 && !(part = await reader.read()).done; )
        out.textContent = head + "\n" + (text += part.value);
      stop.abort();
      return;
    }
    text = await r.text();
    try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON */ }
    out.textContent = head + "\n" + text.slice(0, 200000);
  } catch (e) { out.textContent = String(e); }
}
function operation(method, path, op) {
  const fields = [], rows = [], id = "o" + ++count;
  for (const p of op.parameters || []) {
    const usual = p.schema.default;
    const input = $("input", { id: id + p.in + p.name, placeholder: usual === undefined ? "" : String(usual) });
    fields.push([p, input]);
    rows.push($("tr", null,
      $("td", null, $("label", { htmlFor: input.id }, $("code", null, p.name)), p.required ? " (required)" : ""),
      $("td", null, p.in),
      $("td", null, typeOf(p.schema), " ", $("small", null, limits(p.schema)), " ", p.description || ""),
      $("td", null, input)));
  }
  const schema = op.requestBody && op.requestBody.content["application/json"].schema;
  const sample = schema && JSON.stringify(example(schema), null, 2);
  const body = schema && $("textarea", { ariaLabel: "JSON body", spellcheck: false, value: sample });
  const out = $("pre", { tabIndex: 0, ariaLabel: "Response" }), button = $("button", { type: "button" }, "Send");
  button.onclick = () => send(method.toUpperCase(), path, fields, body, out);
  const head = ["Parameter", "In", "Type", "Value"].map((t) => $("th", { scope: "col" }, t));
  return $("details", null,
    $("summary", null, $("span", { className: "method " + method }, method.toUpperCase()),
      $("span", { className: "path" }, path), " ", op.summary || "", op.security ? " (token)" : ""),
    $("div", null, op.description && $("p", null, op.description),
      rows.length ? $("table", null, $("thead", null, $("tr", null, ...head)), $("tbody", null, ...rows)) : null,
      body,
      schema && $("details", null, $("summary", null, "Schema of the body"),
        $("pre", { tabIndex: 0 }, JSON.stringify(schema, null, 2))),
      $("p", null, "Answers: ", Object.entries(op.responses).map(([s, r]) => s + " " + r.description).join("; ")),
      button, out));
}
fetch(base + "/openapi.json").then((r) => r.json()).then((api) => {
  const main = document.getElementById("routes");
  document.title = document.getElementById("title").textContent = api.info.title + " " + api.info.version;
  document.getElementById("about").textContent = api.info.description || "";
  main.textContent = "";
  for (const path of Object.keys(api.paths).sort())
    for (const [method, op] of Object.entries(api.paths[path])) main.append(operation(method, path, op));
  document.getElementById("filter").oninput = (e) => {
    for (const d of main.children) d.hidden = !d.firstChild.textContent.toLowerCase().includes(e.target.value.toLowerCase());
  };
}).catch((e) => { document.getElementById("routes").textContent = "openapi.json cannot be read: " + e; });
]]

local SECURITY = {
  ["content-security-policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; "
    .. "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ["x-content-type-options"] = "nosniff",
  ["referrer-policy"] = "no-referrer",
}

---Declares the page and what it needs.
function M.serve(app, path, info)
  local base = path:gsub("%%", "%%%%")
  local function part(name, content_type, text)
    app:route("GET", name, { hidden = true }, function()
      return response.new(200, content_type .. "; charset=utf-8", text, SECURITY)
    end)
  end
  part(path, "text/html", PAGE:format(base, base, base))
  part(path .. "/docs.css", "text/css", STYLE)
  part(path .. "/docs.js", "text/javascript", SCRIPT)
  app:route("GET", path .. "/openapi.json", { hidden = true }, function() return openapi.describe(app, info) end)
end

return M
