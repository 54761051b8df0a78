import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { infra } from "../../infra/infra.ts";
import { startNetwork } from "../../support/containers.ts";
import { removeAll } from "./containers.ts";
import { namesOf, type PageRun, runSection } from "./handbook.ts";
import { type HostMember, joinArgs, placeMember, removeMember, secretOf } from "./member.ts";

const PAGE = "install.md";
const LONG_MS = 1_200_000;

test(
  "the handbook's page about installing makes a federation of three empty boxes",
  async () => {
    const { docker } = infra();
    const prefix = `inst${randomBytes(4).toString("hex")}`;
    await using made = new AsyncDisposableStack();
    made.defer(async () => await removeAll(docker, prefix));
    const { hostAddress: host } = made.use(await startNetwork("install"));
    const place = async (name: string): Promise<HostMember> =>
      made.adopt(await placeMember(prefix, name), async (member) => await removeMember(member));
    const [first, second, storage] = [await place("master-1"), await place("master-2"), await place("storage-1")];
    const on = (member: HostMember, args: readonly string[]): PageRun => ({
      member,
      joinArgs: args,
      replace: {
        ...namesOf(member),
        "/opt/fula-storage": member.baseDir,
        // What is carried from box to box lies in one place here.
        "/root/": `${first.root}/`,
        "master-1.example.org": host,
        "master-2.example.org": host,
        "storage-1.example.org": host,
        "127.0.0.1:15432": `127.0.0.1:${first.ports.postgres}`,
      },
    });
    const onFirst = on(first, joinArgs(first, host));
    const onSecond = on(second, joinArgs(second, host));
    const onStorage = on(storage, joinArgs(storage, host));
    // Each box has joined with its settings once; a later join on it is typed as the page has it.
    const again = on(first, ["--schedule-root", first.scheduleRoot]);

    await runSection(PAGE, /Before you begin/, onFirst);
    await runSection(PAGE, /The first master/, onFirst);
    await writeFile(join(first.root, "ledger.password"), await secretOf(first, "POSTGRES_PASSWORD"));
    await runSection(PAGE, /On the first master: a token/, again);
    await runSection(PAGE, /On the second master/, onSecond);
    await runSection(PAGE, /On the first master: trust/, again);
    await runSection(PAGE, /On a master: a token/, again);
    await runSection(PAGE, /On the storage node/, onStorage);
    expect(await runSection(PAGE, /At the end/, again)).toBeGreaterThan(3);
  },
  LONG_MS,
);
