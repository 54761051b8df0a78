import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { ensureControlPlaneKeys, readControlPlaneKeys } from "../../../src/lib/stack/control-plane-keys.ts";
import { natsFiles } from "../../../src/lib/stack/nats-files.ts";
import { binaries } from "../../infra/daemons.ts";
import { loadedBox } from "../../support/schedules.ts";
import { tempDir } from "../../support/temp-dir.ts";

const TEMPLATE = join(import.meta.dirname, "../../../templates/docker/nats.conf");

test("nats-server itself takes the files that are written for it, and the certificates in them", async () => {
  const dir = tempDir();
  const node = { name: "m1", clusterId: "0195d3c4-0000-7000-8000-000000000001", announce: "2001:db8::7" };
  const controlPlane = { witness: true, routes: ["m2.example.org:6222", "[2001:db8::8]:16222"] };
  const loaded = await loadedBox({ yaml: JSON.stringify({ runtime: "docker", node, controlPlane }) });
  await ensureControlPlaneKeys(join(dir, "keys"), { ...node, node, authority: null }, systemClock);
  const keys = await readControlPlaneKeys(join(dir, "keys"));
  for (const { name, content } of natsFiles(loaded, { text: readFileSync(TEMPLATE, "utf8"), path: TEMPLATE }, keys)) {
    const path = join(dir, name);
    mkdirSync(dirname(path), { recursive: true });
    // Where a container has them mounted.
    const here = content
      .replaceAll("/run/secrets/nats", join(dir, "secrets/nats"))
      .replaceAll('"/data"', `"${dir}/data"`);
    writeFileSync(path, here, { mode: 0o600 });
  }
  for (const name of ["nats.conf", "nats-witness.conf"]) {
    const { status, stderr } = spawnSync(binaries().nats, ["-t", "-c", join(dir, "docker", name)], {
      encoding: "utf8",
    });
    expect({ status, said: stderr }).toEqual({ status: 0, said: expect.stringContaining("is valid") });
  }
});
