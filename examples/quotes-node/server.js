// Gives a quote: GET / any, GET /3 the third, GET /up says that it is there.
'use strict';

const http = require('node:http');

const QUOTES = [
  'A rope is as strong as its worst splice.',
  'Measure the tide, not the wave.',
  'Coil it well, and it runs well.',
];

/** Returns status and body for a path. */
function answer(path, pick = Math.random) {
  if (path === '/up') return [200, { up: true }];
  if (path === '/') return [200, { quote: QUOTES[Math.floor(pick() * QUOTES.length)] }];
  const number = Number(path.slice(1));
  if (Number.isInteger(number) && number >= 1 && number <= QUOTES.length) {
    return [200, { quote: QUOTES[number - 1] }];
  }
  return [404, { error: 'no such quote' }];
}

if (require.main === module) {
  const port = Number(process.env.PORT || 3000);
  const server = http.createServer((request, response) => {
    const [status, body] = answer(request.url.split('?')[0]);
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  server.listen(port, '127.0.0.1', () => console.log(`quotes listens on ${port}`));
  process.on('SIGTERM', () => server.close(() => process.exit(0)));
}

module.exports = { answer, QUOTES };
