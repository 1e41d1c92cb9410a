'use strict';

const test = require('node:test');
const assert = require('node:assert/strict');
const { answer, QUOTES } = require('../server.js');

test('gives the quote that is asked for', () => {
  assert.deepEqual(answer('/2'), [200, { quote: QUOTES[1] }]);
});

test('gives any quote when none is asked for', () => {
  assert.deepEqual(answer('/', () => 0.99), [200, { quote: QUOTES[2] }]);
});

test('does not invent quotes', () => {
  assert.equal(answer('/4')[0], 404);
  assert.equal(answer('/x')[0], 404);
});
