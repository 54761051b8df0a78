import { execFile } from "node:child_process";
import { randomInt } from "node:crypto";
import { promisify } from "node:util";
import { makeNamespace, type Namespace } from "./namespace.ts";

const run = promisify(execFile);

/** A machine of its own, as far as the network goes. */
export interface NetworkPlace {
  /** IPv4, reached from the other places and from this process. */
  readonly address: string;
  /** What starts a program there. */
  inside(program: string, args: readonly string[]): { readonly program: string; readonly args: readonly string[] };
  /** Gives it one more address, on an interface of its own that leads nowhere: what a bridge of Docker's is to others. */
  addDeadEnd(address: string): Promise<void>;
}

/** Places on one switch, which this process is on, too. Gone with this process, however it ends. */
export interface TestNetwork extends AsyncDisposable {
  readonly places: readonly NetworkPlace[];
  /** Pulls the cable between these places and all others; this process goes on reaching both sides. */
  cutOff(places: readonly NetworkPlace[]): Promise<void>;
  /** Puts every cable back. */
  heal(): Promise<void>;
}

/** Network tests have this block to themselves (RFC 2544): nobody routes it. */
const FIRST_OCTETS = "198.18";
const OWN_HOST = 254;
const NOBODYS_CARD = "02:00:00:00:00:00";
const ATTEMPTS = 50;
/** Names of interfaces have at most 15 characters. */
const nameOfSubnet = (subnet: number): string => `fulatest${subnet}`;

/** Connects this process with the switch. The interface's name is what claims a subnet: two cannot have it. */
async function connectOurselves(hub: Namespace): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const subnet = randomInt(256);
    const name = nameOfSubnet(subnet);
    try {
      await run("ip", ["link", "add", name, "type", "veth", "peer", "name", "ours", "netns", String(hub.pid)]);
    } catch {
      continue;
    }
    await hub.run("ip", "link", "set", "ours", "master", "switch", "up");
    await run("ip", ["addr", "add", `${FIRST_OCTETS}.${subnet}.${OWN_HOST}/24`, "dev", name]);
    await run("ip", ["link", "set", name, "up"]);
    return subnet;
  }
  throw new Error(`No subnet of ${FIRST_OCTETS}.0.0/16 is free`);
}

async function connectPlace(hub: Namespace, place: Namespace, number: number, address: string): Promise<void> {
  const port = `port${number}`;
  await hub.run("ip", "link", "add", port, "type", "veth", "peer", "name", "uplink", "netns", String(place.pid));
  await hub.run("ip", "link", "set", port, "master", "switch", "up");
  await place.run("ip", "addr", "add", `${address}/24`, "dev", "uplink");
  await place.run("ip", "link", "set", "uplink", "up");
  await place.run("ip", "link", "set", "lo", "up");
}

/** Makes a network of that many places. Needs root. */
export async function startNetworkOf(count: number): Promise<TestNetwork> {
  await using made = new AsyncDisposableStack();
  // The switch is in a namespace of its own as well: the firewall that Docker sets up here filters what crosses a bridge.
  const hub = made.use(await makeNamespace("net"));
  await hub.run("ip", "link", "add", "switch", "type", "bridge", "forward_delay", "0");
  await hub.run("ip", "link", "set", "switch", "up");
  const subnet = await connectOurselves(hub);
  made.defer(async () => {
    // It goes with the namespace as well, only a moment later than a next test may look.
    await run("ip", ["link", "del", nameOfSubnet(subnet)]).catch(() => null);
  });
  const namespaces = new Map<NetworkPlace, Namespace>();
  for (let number = 1; number <= count; number += 1) {
    const namespace = made.use(await makeNamespace("net"));
    const address = `${FIRST_OCTETS}.${subnet}.${number}`;
    await connectPlace(hub, namespace, number, address);
    namespaces.set(placeOf(namespace, address), namespace);
  }
  const places = [...namespaces.keys()];
  const cuts: { readonly from: Namespace; readonly to: string }[] = [];
  const heal = async (): Promise<void> => {
    for (const { from, to } of cuts.splice(0)) await from.run("ip", "neigh", "del", to, "dev", "uplink");
  };
  const all = made.move();
  return {
    places,
    cutOff: async (side) => {
      const others = places.filter((place) => !side.includes(place));
      const pairs = side.flatMap((one) => others.flatMap((other) => [[one, other] as const, [other, one] as const]));
      for (const [one, other] of pairs) {
        const from = namespaces.get(one);
        if (from === undefined) throw new Error("A place of another network");
        // A card that nobody has: packets leave and arrive nowhere, and no program is told.
        await from.run(
          "ip",
          "neigh",
          "replace",
          other.address,
          "lladdr",
          NOBODYS_CARD,
          "dev",
          "uplink",
          "nud",
          "permanent",
        );
        cuts.push({ from, to: other.address });
      }
    },
    heal,
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}

function placeOf(namespace: Namespace, address: string): NetworkPlace {
  return {
    address,
    inside: (program, args) => ({ program: "nsenter", args: [namespace.entrance, program, ...args] }),
    addDeadEnd: async (dead) => {
      await namespace.run("ip", "link", "add", "deadend", "type", "bridge");
      await namespace.run("ip", "addr", "add", `${dead}/16`, "dev", "deadend");
      await namespace.run("ip", "link", "set", "deadend", "up");
    },
  };
}
