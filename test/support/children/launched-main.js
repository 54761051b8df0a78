/* Stands in for dist/main.js behind the real launcher: does what its arguments say, and tells about itself. */
export function main() {
  const [what, value] = process.argv.slice(2);
  if (what === "exit") process.exitCode = Number(value);
  if (what === "kill") process.kill(process.pid, value);
  if (what === "about") {
    const { FULA_MASTER_LAUNCHER_PID: launcherPid } = process.env;
    console.log(
      JSON.stringify({ args: process.argv.slice(2), launcherPid, execPath: process.execPath, ppid: process.ppid }),
    );
  }
  if (what === "echo") process.stdin.on("data", (chunk) => process.stdout.write(chunk));
  if (what === "wait") {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"]) {
      process.on(signal, () => {
        console.log(signal);
        if (value === signal) process.exit(7);
      });
    }
    console.log("waiting");
    setInterval(() => {}, 60_000);
  }
}
