import { expectDone } from "../../support/cli.ts";
import { randomBytes } from "node:crypto";
import type Docker from "dockerode";
import { infra } from "../../infra/infra.ts";
import { startNetwork } from "../../support/containers.ts";
import { removeAll } from "./containers.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "./member.ts";
import { addSecondMaster, type ContainerMember } from "./second-master.ts";

/** Two masters on one ledger and three storage nodes, each on a network of its own. */
export interface Federation extends AsyncDisposable {
  readonly docker: Docker;
  /** Begins the names of everything that belongs to it. */
  readonly prefix: string;
  /** The address under which its boxes reach one another. */
  readonly host: string;
  readonly master1: HostMember;
  readonly master2: ContainerMember;
  readonly storage: readonly HostMember[];
}

const id = (): string => randomBytes(4).toString("hex");

/** Starts all of it. What was made is removed when it is disposed of, or when it does not come up. */
export async function startFederation(): Promise<Federation> {
  const { docker } = infra();
  const prefix = `fed${id()}`;
  await using made = new AsyncDisposableStack();
  const place = async (name: string): Promise<HostMember> =>
    made.adopt(await placeMember(prefix, name), async (member) => await removeMember(member));
  made.defer(async () => await removeAll(docker, prefix));
  const network = made.use(await startNetwork("federation"));
  const host = network.hostAddress;
  const master1 = await place("master-1");
  expectDone(await master1.run("join", "--runtime", "docker", ...joinArgs(master1, host)), "join of master-1");
  const master2 = made.use(await addSecondMaster(prefix, network, master1, await makeToken(master1, "master")));
  expectDone(await master1.run("join", "--yes", "--schedule-root", master1.scheduleRoot), "trust of master-2");
  const token = await makeToken(master1, "storage");
  const storage = [await place("storage-1"), await place("storage-2"), await place("storage-3")];
  await Promise.all(
    storage.map(async (node) =>
      expectDone(
        await node.run("join-as-storage-node", "--token", token, ...joinArgs(node, host)),
        `join of ${node.name}`,
      ),
    ),
  );
  const all = made.move();
  return {
    docker,
    prefix,
    host,
    master1,
    master2,
    storage,
    [Symbol.asyncDispose]: async () => await all.disposeAsync(),
  };
}
