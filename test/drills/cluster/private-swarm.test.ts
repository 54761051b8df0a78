import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { type KuboProcess, startKubos } from "../../support/kubo-process.ts";
import { tempDir } from "../../support/temp-dir.ts";
import { until } from "../../support/until.ts";

/** What the start script of the container makes of a key, and what it does to Kubo's configuration; no Kubo is started. */
function runStartScript(key: string | null, isPrivate: boolean) {
  const dir = tempDir();
  const calls = join(dir, "calls");
  for (const each of ["bin", "secrets", "repo"]) mkdirSync(join(dir, each));
  writeFileSync(join(dir, "repo/config"), "{}");
  writeFileSync(join(dir, "repo/swarm.key"), "of another time");
  if (key !== null) writeFileSync(join(dir, "secrets/swarm_key"), key);
  const ipfs = join(dir, "bin/ipfs");
  writeFileSync(ipfs, `#!/bin/sh\necho "\${LIBP2P_FORCE_PNET:-0} $*" >>${calls}\ncat >/dev/null\n`);
  chmodSync(ipfs, 0o755);
  const script = readFileSync(join(PROJECT_ROOT, "templates/docker/kubo-start.sh"), "utf8");
  execFileSync("sh", ["-c", script.replaceAll("/run/secrets", join(dir, "secrets"))], {
    env: {
      PATH: `${join(dir, "bin")}:${process.env["PATH"]}`,
      IPFS_PATH: join(dir, "repo"),
      FULA_KUBO_PRIVATE: String(isPrivate),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { calls: readFileSync(calls, "utf8"), swarmKey: join(dir, "repo/swarm.key") };
}

const KEY = "0123456789abcdef".repeat(4);

describe("Kubo's start script", () => {
  test("with kubo.private writes the key as go-libp2p reads it, and leaves nothing of the public network on", () => {
    const { calls, swarmKey } = runStartScript(`${KEY}\n`, true);
    expect(readFileSync(swarmKey, "utf8")).toBe(`/key/swarm/psk/1.0.0/\n/base16/\n${KEY}\n`);
    expect(calls).toContain('1 config --json Addresses.Swarm ["/ip4/0.0.0.0/tcp/4001"]');
    for (const off of [
      "AutoConf.Enabled false",
      "Bootstrap []",
      "Routing.DelegatedRouters []",
      "AutoTLS.Enabled false",
    ]) {
      expect(calls).toContain(`1 config --json ${off}`);
    }
    expect(calls).toMatch(/^1 daemon /m);
  });

  test("without it takes an old key away, and goes where kubo.reach says", () => {
    const { calls, swarmKey } = runStartScript(KEY, false);
    expect(existsSync(swarmKey)).toBe(false);
    expect(calls).toContain("quic-v1");
    expect(calls).toContain('0 config --json Bootstrap ["auto"]');
    expect(calls).toMatch(/^0 daemon /m);
  });

  test.each([
    ["none", null],
    ["an empty one", ""],
    ["one that is too short", "abc"],
    ["one of other characters", "Z".repeat(64)],
  ])("with kubo.private and %s for a key does not start", (_, key) => {
    expect(() => runStartScript(key, true)).toThrow(/swarm_key/);
  });
});

async function connect(
  from: KuboProcess,
  to: KuboProcess,
  timeout = "30s",
): Promise<{ readonly status: number; readonly text: string }> {
  // Asked for by name: its own attempts wait seconds after one that came too early.
  const query = new URLSearchParams({ arg: to.swarmAddress, timeout });
  const answer = await fetch(`${from.api}/api/v0/swarm/connect?${query.toString()}`, { method: "POST" });
  return { status: answer.status, text: await answer.text() };
}

test("nodes with the same key connect, and one with another key is not let in", async () => {
  const other = "fedcba9876543210".repeat(4);
  await using kubos = await startKubos(3, (index) => (index === 2 ? other : KEY));
  const [first, second, stranger] = kubos.nodes;
  if (first === undefined || second === undefined || stranger === undefined) throw new Error("There are fewer nodes");
  expect(await connect(second, first)).toMatchObject({ status: 200 });
  const attempt = await connect(stranger, first, "2s");
  expect(attempt.status).toBe(500);
  expect(attempt.text).toContain("failure");
  // Whoever was called is the later one to have the connection in his list.
  const text = await until("the first has the second among its peers", async () => {
    const peers = await (await fetch(`${first.api}/api/v0/swarm/peers`, { method: "POST" })).text();
    return peers.includes(second.peerId) && peers;
  });
  expect(text).not.toContain(stranger.peerId);
});
