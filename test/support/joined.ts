import { generateKeyPairSync } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toolVersion } from "../../src/lib/kernel/project.ts";

/**
 * Writes what `join` leaves in a base directory that a test has made by hand: the note that it is ours, and the key that
 * the box acts with. So its commands ask the control plane as those of a real master do.
 */
export function markJoined(baseDir: string, clusterId: string): void {
  const stateDir = join(baseDir, "state");
  const keysDir = join(baseDir, "keys");
  for (const dir of [stateDir, keysDir]) mkdirSync(dir, { recursive: true, mode: 0o700 });
  const version = toolVersion();
  const installation = { format: 1, clusterId, createdAt: "2026-01-01T00:00:00Z", createdBy: version, made: [] };
  writeFileSync(join(stateDir, "installation.json"), JSON.stringify({ ...installation, changedBy: version }));
  const keyFile = join(keysDir, "snapshot-ed25519.pem");
  if (existsSync(keyFile)) return;
  const { privateKey } = generateKeyPairSync("ed25519");
  writeFileSync(keyFile, privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
}
