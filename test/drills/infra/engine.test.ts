import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { expect, test } from "vitest";

const ENSURE = join(import.meta.dirname, "../../support/children/ensure-engine.ts");

/**
 * A machine within this one, as a killed one comes up again: no engine, no control groups, a network of its own, and pid
 * files that name processes which run and are none of Docker's. It ends with its first process.
 */
const MACHINE = `
set -eu
mount -t tmpfs none /run
mount --bind "$DIR/lib" /var/lib/docker
awk '$2 ~ "^/sys/fs/cgroup" { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l
ip link set lo up
mkdir -p /run/docker/containerd
echo $$ >/run/docker.pid
echo $$ >/run/docker/containerd/containerd.pid
"$NODE" "$ENSURE"
tar -C /bin -c busybox | docker import - busybox:here >/dev/null
docker run --rm --network none busybox:here /busybox echo a container ran
kill "$(cat /run/docker.pid)"
while [ -e /run/docker.pid ]; do sleep 0.1; done
`;

test("an engine is started where none answers, whatever pid files a killed machine left, and is found the second time", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fula-engine-"));
  try {
    await execa("mkdir", ["-p", join(dir, "lib"), "/var/lib/docker"]);
    const { stdout } = await execa(
      "unshare",
      ["--mount", "--pid", "--fork", "--kill-child", "--net", "--mount-proc", "sh", "-c", MACHINE],
      { env: { DIR: dir, NODE: process.execPath, ENSURE, XDG_CACHE_HOME: join(dir, "cache"), DOCKER_HOST: "" } },
    );
    const [report = "", ran] = stdout.split("\n");
    expect(JSON.parse(report)).toMatchObject({ first: "started", second: "answers" });
    expect(report).toContain("it keeps running, and logs to");
    expect(ran).toBe("a container ran");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
