#!/usr/bin/env node
/*
 * The launcher. It must run on any Node.js that a Linux distribution ships, so it is written in the syntax of 2009
 * (bin/package.json makes this folder CommonJS, whatever the package is), and it does three things only: answers
 * `--version`, finds a Node.js that is new enough, and hands over to dist/main.js.
 */
"use strict";

var childProcess = require("child_process");
var fs = require("fs");
var os = require("os");
var path = require("path");

var REQUIRED_MAJOR = 24;
var ROOT = path.resolve(__dirname, "..");
var MAIN = path.join(ROOT, "dist", "main.js");
var EXIT_USAGE = 2;
var PROBE_TIMEOUT_MS = 5000;
// Holds the pid of the launcher that started this one. A pid and not a flag, because the environment is inherited by
// everything below: a hook that runs fula-master under the old Node again is no loop, our own child being old is one.
var LAUNCHER_PID_VARIABLE = "FULA_MASTER_LAUNCHER_PID";
// SIGUSR1 opens Node's debugger: wanted in the process that does the work, not in this one.
var FORWARDED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"];

function majorOf(version) {
  var match = /^v?(\d+)\./.exec(version);
  return match === null ? 0 : Number(match[1]);
}

function packageVersion() {
  return JSON.parse(fs.readFileSync(path.join(ROOT, "package.json"), "utf8")).version;
}

function fail(code, message, hint) {
  if (process.argv.indexOf("--json") > 1) {
    var error = { code: code, message: message, hint: hint, exitCode: EXIT_USAGE };
    process.stderr.write(JSON.stringify({ error: error }) + "\n");
  } else {
    process.stderr.write(code + ": " + message + "\n  Try: " + hint + "\n");
  }
  process.exitCode = EXIT_USAGE;
}

function failTooOld(what) {
  fail(
    "FULA_NODE_TOO_OLD",
    "fula-master " + packageVersion() + " needs Node.js " + REQUIRED_MAJOR + " or newer; " + what,
    'run "npm install" in ' +
      ROOT +
      " (it brings a newer Node.js along), or install Node.js " +
      REQUIRED_MAJOR +
      " from https://nodejs.org/en/download, or set FULA_MASTER_NODE to the path of a newer node.",
  );
}

/* The nodes that npm may have put beside this package: in its own node_modules, or hoisted into one further up. */
function bundledNodes() {
  var found = [];
  var dir = ROOT;
  for (;;) {
    var modules = path.basename(dir) === "node_modules" ? dir : path.join(dir, "node_modules");
    found.push(path.join(modules, "node", "bin", "node"));
    var parent = path.dirname(dir);
    if (parent === dir) return found;
    dir = parent;
  }
}

function nodesOnPath() {
  return (process.env.PATH || "")
    .split(path.delimiter)
    .filter(path.isAbsolute)
    .map(function (dir) {
      return path.join(dir, "node");
    });
}

/* The version that a node binary says it has, or "" where it does not run. */
function probe(node) {
  var result = childProcess.spawnSync(node, ["--version"], { encoding: "utf8", timeout: PROBE_TIMEOUT_MS });
  return result.status === 0 ? String(result.stdout).trim() : "";
}

function findNewerNode() {
  var candidates = bundledNodes().concat(nodesOnPath());
  var seen = {};
  for (var i = 0; i < candidates.length; i += 1) {
    var node = candidates[i];
    if (seen[node] || node === process.execPath || !fs.existsSync(node)) continue;
    seen[node] = true;
    if (majorOf(probe(node)) >= REQUIRED_MAJOR) return node;
  }
  return null;
}

/* Ends this process the way the child ended, so that a shell or a service manager sees what really happened. */
function endLike(exitCode, signal) {
  if (signal === null) {
    process.exitCode = exitCode;
    return;
  }
  FORWARDED_SIGNALS.forEach(function (name) {
    process.removeAllListeners(name);
  });
  process.kill(process.pid, signal);
  // Process 1 of a container does not die of a signal that it does not handle; the shell's number for it then has to do.
  setTimeout(function () {
    process.exit(128 + (os.constants.signals[signal] || 0));
  }, 100);
}

function runUnder(node) {
  var env = {};
  Object.keys(process.env).forEach(function (name) {
    env[name] = process.env[name];
  });
  env[LAUNCHER_PID_VARIABLE] = String(process.pid);
  var args = process.execArgv.concat([__filename], process.argv.slice(2));
  var child = childProcess.spawn(node, args, { stdio: "inherit", env: env });
  FORWARDED_SIGNALS.forEach(function (name) {
    process.on(name, function () {
      child.kill(name);
    });
  });
  child.on("error", function (error) {
    failTooOld(node + " could not be started (" + error.message + ").");
  });
  child.on("exit", endLike);
}

function relaunch() {
  var here = "this is Node.js " + process.versions.node + " (" + process.execPath + ")";
  if (process.env[LAUNCHER_PID_VARIABLE] === String(process.ppid)) {
    failTooOld(here + ", although it was started as a newer one; is it a version manager's wrapper?");
    return;
  }
  var chosen = process.env.FULA_MASTER_NODE;
  if (chosen) {
    var version = probe(chosen);
    if (majorOf(version) >= REQUIRED_MAJOR) runUnder(chosen);
    else failTooOld("FULA_MASTER_NODE=" + chosen + (version === "" ? " does not run." : " is " + version + "."));
    return;
  }
  var node = findNewerNode();
  if (node === null) failTooOld(here + ", and no newer one was found.");
  else runUnder(node);
}

/*
 * Compiled code is kept between runs. Not in the shared temporary directory, where Node.js would put it: whoever can
 * write there could prepare code for root to run. Beside the code itself, or else in the user's own cache.
 */
function enableCompileCache() {
  var enable = require("module").enableCompileCache;
  if (typeof enable !== "function") return;
  var status = enable(path.join(ROOT, ".cache", "compile")).status;
  // 0 is `constants.compileCacheStatus.FAILED`: an installation that this user may not write to.
  if (status === 0) enable(path.join(os.homedir(), ".cache", "fula-master", "compile"));
}

function start() {
  delete process.env[LAUNCHER_PID_VARIABLE];
  if (!fs.existsSync(MAIN)) {
    fail(
      "FULA_NOT_BUILT",
      MAIN + " is missing: fula-master has not been built.",
      'run "npm run build" in ' + ROOT + ".",
    );
    return;
  }
  enableCompileCache();
  var main;
  try {
    main = require(MAIN);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND" && error.code !== "MODULE_NOT_FOUND") throw error;
    fail("FULA_NOT_BUILT", "A part of fula-master is not installed: " + error.message, 'run "npm ci" in ' + ROOT + ".");
    return;
  }
  main.main();
}

if (process.argv.length === 3 && (process.argv[2] === "--version" || process.argv[2] === "-V")) {
  process.stdout.write(packageVersion() + "\n");
} else if (majorOf(process.versions.node) >= REQUIRED_MAJOR) {
  start();
} else {
  relaunch();
}
