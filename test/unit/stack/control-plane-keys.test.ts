import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect, createServer, type TLSSocket } from "node:tls";
import { describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../../src/lib/kernel/clock.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { makeAuthority } from "../../../src/lib/stack/control-plane-certificates.ts";
import {
  controlPlaneKeyFiles,
  ensureControlPlaneKeys,
  ensureNodeCertificate,
  missingControlPlaneKeys,
  readAuthority,
  readControlPlaneKeys,
  writeAuthority,
} from "../../../src/lib/stack/control-plane-keys.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { tempDir } from "../../support/temp-dir.ts";

const CLUSTER = "0195d3c4-0000-7000-8000-000000000001";
const DAY_MS = 86_400_000;
const node = { name: "master-1", announce: "m1.example.org" };

async function keysOf(clock: Clock, dir = tempDir(), authority: Parameters<typeof writeAuthority>[1] | null = null) {
  const made = await ensureControlPlaneKeys(dir, { clusterId: CLUSTER, node, authority }, clock);
  const keys = await readControlPlaneKeys(dir);
  if (keys === null) throw new Error("keys are missing that were just made");
  return { dir, made, keys, certificate: new X509Certificate(keys.certificate) };
}

interface Shown {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Lets one box call another, both of which show their certificates; gives why the call came to nothing, or null. */
async function call(callee: Shown, caller: Shown, name: string): Promise<string | null> {
  await using opened = new AsyncDisposableStack();
  const server = createServer({ ...callee, requestCert: true, rejectUnauthorized: true });
  opened.defer(() => {
    server.close();
  });
  server.on("secureConnection", (socket: TLSSocket) => {
    socket.on("error", () => {});
    socket.end("welcome");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const { promise, resolve } = Promise.withResolvers<string | null>();
  server.on("tlsClientError", (error) => {
    resolve(`refused: ${error.message}`);
  });
  const socket = connect({ ...caller, host: "127.0.0.1", port: address.port, servername: name });
  socket.on("data", () => {
    resolve(null);
  });
  socket.on("error", (error) => {
    resolve(error.message);
  });
  opened.defer(() => {
    socket.destroy();
  });
  return await promise;
}

function shownBy({ keys }: Awaited<ReturnType<typeof keysOf>>): Shown {
  return { ca: keys.ca, cert: keys.certificate, key: keys.key.reveal() };
}

describe("the keys of a master's servers", () => {
  test("are made once, closed to others, and kept", async () => {
    const clock = new ManualClock();
    const { dir, made, keys } = await keysOf(clock);
    expect(made).toEqual(["a certificate authority", "a certificate", "nats-user.nk", "nats-system.nk"]);
    expect(keys.user).toMatch(/^U[A-Z2-7]{55}$/);
    expect(keys.system).not.toBe(keys.user);
    for (const path of Object.values(controlPlaneKeyFiles(dir))) {
      expect((await stat(path)).mode & 0o777, path).toBe(0o600);
    }
    const again = await keysOf(clock, dir);
    expect(again.made).toEqual([]);
    expect(again.keys).toEqual(keys);
    expect(await missingControlPlaneKeys(dir, node, null, clock)).toEqual([]);
  });

  test("are good for the names that other boxes, the Compose project and the box itself call them by", async () => {
    const clock = new ManualClock();
    const { certificate } = await keysOf(clock);
    expect(certificate.subjectAltName).toBe(
      "DNS:master-1, DNS:m1.example.org, DNS:nats, DNS:nats-witness, IP Address:127.0.0.1",
    );
    expect(certificate.checkHost("m1.example.org")).toBeDefined();
    expect(certificate.checkHost("m2.example.org")).toBeUndefined();
    expect(certificate.ca).toBe(false);
    expect(Math.round((certificate.validToDate.getTime() - clock.nowMs()) / DAY_MS)).toBe(730);
  });

  test("let boxes of one federation call one another, both showing who they are, and nobody else", async () => {
    const first = await keysOf(systemClock);
    const authority = await readAuthority(first.dir);
    const second = await keysOf(systemClock, tempDir(), authority);
    const stranger = await keysOf(systemClock);
    expect(second.made[0]).toBe("the federation's CA");
    expect(await call(shownBy(first), shownBy(second), "m1.example.org")).toBeNull();
    expect(await call(shownBy(second), shownBy(first), "nats-witness")).toBeNull();
    expect(await call(shownBy(first), shownBy(second), "m9.example.org")).toMatch(/not in the cert/);
    expect(await call(shownBy(first), shownBy(stranger), "m1.example.org")).toMatch(/certificate/);
    const deceived = { ...shownBy(stranger), ca: first.keys.ca };
    expect(await call(shownBy(first), deceived, "m1.example.org")).toMatch(/^refused/);
  });

  test.each([
    ["has 89 days left", 641 * DAY_MS, {}, "it is good for 89 more days"],
    ["does not name the box's new address", 0, { announce: "192.0.2.7" }, "it does not name 192.0.2.7"],
    ["is of an address in the sixth version", 0, { announce: "2001:db8::7" }, "it does not name 2001:db8::7"],
    ["is of the future", -2 * DAY_MS, {}, "it is of the future"],
    ["ended, of an authority that ends soon itself", 3_600 * DAY_MS, {}, "it is good for 0 more days"],
  ])("have a certificate made anew that %s, and then no more", async (_, laterMs, change, why) => {
    const { dir, keys } = await keysOf(new ManualClock());
    const clock = new ManualClock(new ManualClock().nowMs() + laterMs);
    const changed = { ...node, ...change };
    expect(await missingControlPlaneKeys(dir, changed, null, clock)).toEqual([
      `write ${controlPlaneKeyFiles(dir).certificate}: ${why}`,
    ]);
    expect(await ensureNodeCertificate(dir, changed, clock)).toBe(why);
    expect(await ensureNodeCertificate(dir, changed, clock)).toBeNull();
    expect((await readControlPlaneKeys(dir))?.certificate).not.toBe(keys.certificate);
  });

  test("have a certificate with 90 days left kept", async () => {
    const { dir } = await keysOf(new ManualClock());
    const clock = new ManualClock(new ManualClock().nowMs() + 639 * DAY_MS);
    expect(await ensureNodeCertificate(dir, node, clock)).toBeNull();
  });

  test("are of the new authority once there is one, while servers with certificates of the old one are still let in", async () => {
    const first = await keysOf(systemClock);
    const old = await readAuthority(first.dir);
    const late = await keysOf(systemClock, tempDir(), old);
    const next = await makeAuthority(CLUSTER, systemClock.nowMs());
    const both = `${next.certificate.trim()}\n${old?.certificate ?? ""}`;
    expect(await writeAuthority(first.dir, { certificate: both, key: next.key })).toBe(true);
    expect(await writeAuthority(first.dir, { certificate: both, key: next.key })).toBe(false);
    expect(await ensureNodeCertificate(first.dir, node, systemClock)).toBe(
      "the federation has a new certificate authority",
    );
    const renewed = await keysOf(systemClock, first.dir);
    expect(await call(shownBy(renewed), shownBy(late), "nats")).toMatch(/certificate/);
    await writeAuthority(late.dir, {
      certificate: `${old?.certificate ?? ""}\n${next.certificate}`,
      key: old?.key ?? next.key,
    });
    const told = await keysOf(systemClock, late.dir);
    expect(await call(shownBy(renewed), shownBy(told), "nats")).toBeNull();
  });

  test("that are damaged are named, and no others are made in their place", async () => {
    const clock = new ManualClock();
    const { dir } = await keysOf(clock);
    const files = controlPlaneKeyFiles(dir);
    const seed = await readFile(files.userSeed, "utf8");
    await writeFile(files.userSeed, "SUAOOPS");
    const damaged = { code: "FULA_CONTROL_PLANE_KEYS", message: expect.stringContaining(files.userSeed) };
    await expect(readControlPlaneKeys(dir)).rejects.toMatchObject(damaged);
    await expect(keysOf(clock, dir)).rejects.toMatchObject(damaged);
    await writeFile(files.userSeed, seed);
    const other = await makeAuthority(CLUSTER, clock.nowMs());
    await writeFile(files.caKey, other.key.reveal());
    await expect(keysOf(clock, dir)).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_KEYS" });
    await expect(
      writeAuthority(dir, { certificate: other.certificate, key: new Secret("not a key") }),
    ).rejects.toMatchObject({ code: "FULA_CONTROL_PLANE_KEYS" });
    await rm(files.certificate);
    expect(await readControlPlaneKeys(dir)).toBeNull();
  });
});
