// The official Ably JavaScript SDK asks a real node.
// Standard input: {"port", "binary", "token", "node", "questions"}. Prints the answers as a JSON list.

const Ably = require('ably');

const DEADLINE = 10_000; // ms

async function main() {
  const chunks = [];
  for await (const chunk of process.stdin) chunks.push(chunk);
  const setup = JSON.parse(Buffer.concat(chunks).toString());
  const client = new Ably.Realtime({
    endpoint: '127.0.0.1',
    port: setup.port,
    tls: false,
    useBinaryProtocol: setup.binary,
    authCallback: (_, callback) => callback(null, setup.token),
    logLevel: 0,
  });
  await client.connection.whenState('connected');
  const waiting = new Map();
  await client.channels.get(`imhearing:replies:${client.auth.clientId}`).subscribe('answer', (message) => {
    // bytes over msgpack, and over JSON too once the SDK has decoded base 64
    const answer = JSON.parse(Buffer.from(message.data).toString());
    waiting.get(answer.id)?.(answer);
  });
  const requests = client.channels.get(`imhearing:requests:${setup.node}`);
  const answers = await Promise.all(
    setup.questions.map(
      (question) =>
        new Promise((resolve, reject) => {
          setTimeout(() => reject(new Error(`no answer to ${question.id}`)), DEADLINE).unref();
          waiting.set(question.id, resolve);
          const data = Buffer.from(JSON.stringify(question));
          requests.publish({ name: 'query', data, extras: { headers: { id: question.id, v: '1' } } }).catch(reject);
        }),
    ),
  );
  console.log(JSON.stringify(answers));
  client.close();
}

main().then(
  () => process.exit(0),
  (problem) => {
    console.error(problem);
    process.exit(1);
  },
);
