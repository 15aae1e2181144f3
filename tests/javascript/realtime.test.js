// The official Ably JavaScript SDK against the local realtime server.
// Standard input: {"port", "binary", "tokens": {"ann", "porch"}}. Prints one line per check; exit code 0 when all hold.

const assert = require('node:assert');
const Ably = require('ably');

const REQUESTS = 'imhearing:requests:porch';
const REPLIES = 'imhearing:replies:ann';
const NODES = 'imhearing:nodes';
const DEADLINE = 10_000; // ms

const soon = (promise, what) =>
  Promise.race([
    promise,
    new Promise((_, reject) => setTimeout(() => reject(new Error(`waited in vain for ${what}`)), DEADLINE).unref()),
  ]);

// A queue between a listener and `await`.
function inbox() {
  const waiting = [];
  const readers = [];
  return {
    put: (item) => (readers.length ? readers.shift()(item) : waiting.push(item)),
    next: (what) => soon(waiting.length ? waiting.shift() : new Promise((resolve) => readers.push(resolve)), what),
    size: () => waiting.length,
  };
}

function connect(setup, name) {
  return new Ably.Realtime({
    endpoint: '127.0.0.1',
    port: setup.port,
    tls: false,
    useBinaryProtocol: setup.binary,
    authCallback: (_, callback) => callback(null, setup.tokens[name]),
    disconnectedRetryTimeout: 100,
    logLevel: 0,
  });
}

async function refusedWith(code, promise) {
  await assert.rejects(soon(promise, `refusal ${code}`), (error) => error.code === code);
}

const checks = {
  async 'question and answer, stamped by the server'({ ann, porch }) {
    const questions = inbox();
    const answers = inbox();
    await porch.channels.get(REQUESTS).subscribe('query', questions.put);
    await ann.channels.get(REPLIES).subscribe('answer', answers.put);
    const extras = { headers: { id: 'r1', v: '1' } };
    await ann.channels.get(REQUESTS).publish({ name: 'query', data: Buffer.from('{"v":1}'), extras });
    const question = await questions.next('the question');
    assert.equal(question.clientId, 'ann');
    assert.deepEqual(question.extras, extras);
    assert.equal(question.data.toString(), '{"v":1}');
    const page = Buffer.alloc(48_000, 7);
    await porch.channels.get(`imhearing:replies:${question.clientId}`).publish('answer', page);
    const answer = await answers.next('the answer');
    assert.ok(page.equals(answer.data));
    assert.equal(answer.clientId, 'porch');
  },

  async 'what the token does not permit is refused'({ ann }) {
    await refusedWith(40160, ann.channels.get('imhearing:replies:bob').attach());
    await refusedWith(40160, ann.channels.get('imhearing:events:porch').publish('state', 'false'));
    const requests = ann.channels.get(REQUESTS);
    await requests.attach();
    assert.deepEqual(requests.modes, ['publish']);
  },

  async 'nodes are seen'({ ann, porch }) {
    const seen = inbox();
    await ann.channels.get(NODES).presence.subscribe('enter', seen.put);
    await porch.channels.get(NODES).presence.enter({ node: 'porch', version: '1.0' });
    const member = await seen.next('the node');
    assert.equal(member.clientId, 'porch');
    assert.deepEqual(member.data, { node: 'porch', version: '1.0' });
    const members = await ann.channels.get(NODES).presence.get();
    assert.deepEqual(members.map((item) => item.clientId), ['porch']);
  },

  async 'rewind brings what was before'({ ann, porch }) {
    for (const state of ['1', '2', '3']) await porch.channels.get('imhearing:events:porch').publish('state', state);
    const heard = inbox();
    const channel = ann.channels.get('imhearing:events:porch', { params: { rewind: '2' } });
    await channel.subscribe(heard.put);
    assert.equal((await heard.next('the second')).data, '2');
    assert.equal((await heard.next('the third')).data, '3');
  },

  async 'a broken socket loses nothing'({ ann, porch }) {
    const answers = inbox();
    const channel = ann.channels.get(REPLIES);
    await channel.subscribe('after', answers.put);
    const id = ann.connection.id;
    const broken = ann.connection.once('disconnected');
    const back = ann.connection.once('connected');
    ann.connection.connectionManager.activeProtocol.getTransport().wsConnection.terminate();
    for (let number = 0; number < 10; number++) await porch.channels.get(REPLIES).publish('after', String(number));
    await soon(broken, 'the break');
    await soon(back, 'the connection');
    for (let number = 0; number < 10; number++) {
      assert.equal((await answers.next(`message ${number}`)).data, String(number));
    }
    assert.equal(ann.connection.id, id);
    await soon(ann.connection.ping(), 'a heartbeat');
    assert.equal(answers.size(), 0);
    assert.equal((await ann.channels.get(NODES).presence.get()).length, 1);
  },

  async 'a token is renewed on the open socket'({ ann, setup }) {
    const id = ann.connection.id;
    await soon(ann.auth.authorize(), 'a new token');
    assert.equal(ann.connection.id, id);
    assert.equal(ann.auth.tokenDetails.token, setup.tokens.ann);
    assert.equal(ann.auth.clientId, 'ann');
  },

  async 'the time over HTTP'({ ann }) {
    assert.ok(Math.abs((await soon(ann.time(), 'the time')) - Date.now()) < 60_000);
  },
};

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const setup = JSON.parse(Buffer.concat(chunks).toString());
  const ann = connect(setup, 'ann');
  const porch = connect(setup, 'porch');
  await soon(Promise.all([ann, porch].map((client) => client.connection.whenState('connected'))), 'connections');
  for (const [name, check] of Object.entries(checks)) {
    await check({ ann, porch, setup });
    console.log(`ok ${name}`);
  }
  ann.close();
  porch.close();
  await soon(Promise.all([ann, porch].map((client) => client.connection.whenState('closed'))), 'the end');
}

main().then(
  () => process.exit(0),
  (problem) => {
    console.error(problem);
    process.exit(1);
  },
);
