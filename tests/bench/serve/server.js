// server.js PORT: the routes of the HTTP benches, with Node's http.
const http = require('http');

function send(res, type, text) {
  res.writeHead(200, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(text) });
  res.end(text);
}

http.createServer((req, res) => {
  if (req.url !== '/json') return send(res, 'text/plain', 'Hello, World!');
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    const d = JSON.parse(Buffer.concat(parts).toString());
    send(res, 'application/json',
      JSON.stringify({ id: d.id, name: d.name, ok: true, total: d.qty * d.price, tags: d.tags }));
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
