import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { DaemonProcess } from "../../support/daemon-process.ts";
import { type NetworkPlace, startNetworkOf } from "../../support/nats-network.ts";

const run = promisify(execFile);

/** A busy machine may take seconds to let an answer through; nobody counts as silent before that. */
const SILENCE_MS = 20_000;
const SERVER = 'require("node:net").createServer((socket) => socket.end("here")).listen(7000)';
const CLIENT = `const socket = require("node:net").connect({ host: process.argv[1], port: 7000 });
socket.setTimeout(${SILENCE_MS}, () => { console.log("silent"); socket.destroy(); });
socket.on("data", (data) => console.log(String(data)));
socket.on("error", (error) => console.log(error.code));`;

/** What a client at one place hears from the server at another; from this process where `from` is null. */
async function ask(from: NetworkPlace | null, to: NetworkPlace): Promise<string> {
  const args = ["-e", CLIENT, to.address];
  const command = from?.inside(process.execPath, args) ?? { program: process.execPath, args };
  return (await run(command.program, [...command.args])).stdout.trim();
}

test("places whose cable is pulled hear nothing from one another, and this process goes on reaching all of them", async () => {
  await using network = await startNetworkOf(3);
  const [a, b, c] = network.places;
  if (a === undefined || b === undefined || c === undefined) throw new Error("no places");
  await using made = new AsyncDisposableStack();
  for (const place of network.places) {
    const server = new DaemonProcess(`server at ${place.address}`, {
      ...place.inside(process.execPath, ["-e", SERVER]),
      env: {},
      probe: async () => expect(await ask(null, place)).toBe("here"),
    });
    made.use(server);
    await server.start();
  }
  const pairs = [
    [null, a],
    [null, b],
    [a, b],
    [b, a],
    [b, c],
  ] as const;
  const heard = async (): Promise<readonly string[]> =>
    await Promise.all(pairs.map(async ([from, to]) => await ask(from, to)));
  expect(await heard()).toEqual(["here", "here", "here", "here", "here"]);
  await network.cutOff([a]);
  expect(await heard()).toEqual(["here", "here", "silent", "silent", "here"]);
  await network.heal();
  expect(await heard()).toEqual(["here", "here", "here", "here", "here"]);
});

test("a bridge of its own is an address that nobody beside that place reaches", async () => {
  await using network = await startNetworkOf(2);
  const [a, b] = network.places;
  if (a === undefined || b === undefined) throw new Error("no places");
  await a.addDeadEnd("172.17.0.1");
  expect(await ask(a, { ...a, address: "172.17.0.1" })).toBe("ECONNREFUSED");
  expect(await ask(b, { ...a, address: "172.17.0.1" })).toBe("ENETUNREACH");
});
