import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { findPostmaster } from "../../../src/lib/runtime/postgres-process.ts";
import { listPids, argumentsOf } from "../../../src/lib/runtime/processes.ts";
import { openPostgresRig } from "../../support/postgres-pair.ts";
import { until } from "../../support/until.ts";

/** In no other process's arguments, also where these tests run twice at one time. */
const SECONDS = `86399.${process.pid}`;

function sleepers(): number {
  return listPids().filter((pid) => argumentsOf(pid).includes(SECONDS)).length;
}

describe("a server that is a process of this box", () => {
  test("is started, stopped in both ways and started again, whatever a dead one left", async () => {
    await using rig = await openPostgresRig();
    const primary = await rig.primary("a");
    await primary.sql("create table t (n int)");
    expect(await primary.site.state()).toBe("running");
    await primary.stop("immediate");
    expect(await primary.site.state()).toBe("stopped");
    // The pid of a server that was killed belongs to somebody else by now: to us.
    rig.write(join(primary.dataDir, "postmaster.pid"), `${process.pid}\n${primary.dataDir}\n1\n${primary.port}\n`);
    expect(await primary.site.state()).toBe("stopped");
    await primary.start();
    expect(await primary.sql("select count(*)::int as n from t")).toEqual([{ n: 0 }]);
    expect((await findPostmaster(primary.dataDir))?.ours).toBe(true);
    await primary.stop();
    expect(await (await rig.empty("b")).site.state()).toBe("absent");

    writeFileSync(join(primary.rootDir, "recovery.inprogress"), "{}");
    await expect(primary.site.start()).rejects.toMatchObject({ code: "FULA_RECOVERY_MARKER" });
    expect(await primary.site.state()).toBe("stopped");

    const broken = await rig.copyOf(primary, "c");
    broken.configure({ wal_level: "nonsense" });
    await expect(broken.site.start()).rejects.toMatchObject({
      code: "FULA_POSTGRES_START",
      message: expect.stringContaining("wal_level"),
    });
  });

  test("leaves no program behind after a time-out, an abort and the end of a session", async () => {
    await using rig = await openPostgresRig();
    const { site, rootDir } = await rig.empty("a");
    const forks = { args: ["-c", `sleep ${SECONDS} & sleep ${SECONDS}`] };
    const session = await site.open(new AbortController().signal);
    expect(await session.run("sh", { ...forks, timeoutMs: 100 })).toMatchObject({ exitCode: null, timedOut: true });
    expect(sleepers()).toBe(0);

    const abort = new AbortController();
    const aborted = session.run("sh", { ...forks, signal: abort.signal });
    await until("it runs", async () => sleepers() > 0);
    abort.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    expect(sleepers()).toBe(0);

    // One that leaves a child behind ends it with itself.
    await session.run("sh", { args: ["-c", `sleep ${SECONDS} >/dev/null 2>&1 & exit 3`] });
    expect(sleepers()).toBe(0);

    const cut = session.run("sh", forks);
    await until("it runs", async () => sleepers() > 0);
    await Promise.all([session[Symbol.asyncDispose](), expect(cut).rejects.toThrow("was ended")]);
    expect(sleepers()).toBe(0);
    await expect(session.run("sh", { args: ["-c", `touch ${rootDir}/late`] })).rejects.toThrow("was ended");
    expect(existsSync(join(rootDir, "late"))).toBe(false);
  });

  test("gives back what a program wrote, read and answered", async () => {
    await using rig = await openPostgresRig();
    const { site } = await rig.empty("a");
    await using session = await site.open(new AbortController().signal);
    const lines: string[] = [];
    const end = await session.run("sh", {
      args: ["-c", 'cat; printf "one\\rtwo\\n" >&2; echo "$PGDATA|$WORD"; exit 3'],
      stdin: "grüße\n",
      env: { WORD: "given" },
      onLine: (line) => lines.push(line),
    });
    expect(end).toEqual({ exitCode: 3, stdout: "grüße\n|given\n", stderr: "one\rtwo", timedOut: false });
    expect(lines.toSorted()).toEqual(["grüße", "one", "two", "|given"].toSorted());
  });
});
