import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

// Started by postgres-server.ts with the pid of a PostgreSQL and its directory. Standard input is a pipe that nobody
// writes to: it ends when the test run ends, however it ends (kill -9 too), and then server and directory go away.
const [pidText, dir] = process.argv.slice(2);
if (pidText === undefined || dir === undefined) throw new Error("usage: postgres-guard.ts <pid> <dir>");
const pid = Number(pidText);

function alive(): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

process.stdin.resume();
process.stdin.on("end", () => {
  void (async () => {
    // SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one.
    if (alive()) process.kill(pid, "SIGINT");
    for (let waited = 0; alive() && waited < 10_000; waited += 50) {
      await sleep(50);
      if (waited === 5_000) process.kill(pid, "SIGQUIT");
    }
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  })();
});
