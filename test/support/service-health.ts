import type { ServiceHealth } from "../../src/lib/runtime/project-health.ts";

/** A container of Kubo that is well, changed as a test wants it. */
export function makeServiceHealth(changes: Partial<ServiceHealth> = {}): ServiceHealth {
  return {
    service: "kubo",
    containerId: "c1",
    containerName: "ipfs_host",
    image: "kubo:1",
    imageId: "sha256:1",
    state: "running",
    health: "healthy",
    healthOutput: null,
    restarts: 0,
    exitCode: 0,
    isWanted: true,
    startedAt: "2026-11-20T03:59:00Z",
    ...changes,
  };
}
