import { createRequire } from "node:module";
import { askHttp, DaemonProcess, findFreePorts } from "./daemon-process.ts";

/** The program itself: the package's own command starts it as a child, which outlives a kill. */
function anvilProgram(): string {
  const arch = process.arch === "arm64" ? "arm64" : "amd64";
  const require = createRequire(createRequire(import.meta.url).resolve("@foundry-rs/anvil/package.json"));
  return require.resolve(`@foundry-rs/anvil-linux-${arch}/bin/anvil`);
}

/** keccak256("Transfer(address,address,uint256)") */
const TRANSFER = "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/**
 * A token as far as a scanner sees it: takes records of (from, to, value), 32 bytes each, and tells of each as a transfer.
 * Anybody may move anything; a call with several records is a transaction with several transfers.
 */
const TOKEN_CODE = [
  "6000", // i = 0
  "5b", // loop (2):
  "36811015604557", // while i < calldatasize
  "8060400135600052", // memory[0] = value
  "8060200135", // to
  "8135", // from
  `7f${TRANSFER}`,
  "60206000a3", // log3
  "606001600256", // i += 96; again
  "5b00", // end (0x45)
].join("");
const TOKEN_INIT = `0x604780600b6000396000f3${TOKEN_CODE}`;

/**
 * A wallet as far as ERC-1271 goes: knows the 65-byte signatures (v 27 or 28) of its owner, and reverts for all else. It
 * hands digest, v, r and s of its arguments to the precompiled contract that recovers a signer.
 */
function walletInit(owner: string): string {
  const code = [
    "600435600052", // memory[0x00] = the digest, the first argument
    "60a43560001a602052", // memory[0x20] = v, the signature's last byte
    "606435604052", // memory[0x40] = r
    "608435606052", // memory[0x60] = s
    "602060806080600060015afa50", // memory[0x80] = ecrecover(memory[0x00…0x80])
    `60805173${owner.slice(2)}14`, // is it the owner?
    "604957", // then go to the end (0x49)
    "60006000fd", // else revert
    "5b631626ba7e60e01b60005260206000f3", // return the selector, with zeros behind it
  ].join("");
  const length = (code.length / 2).toString(16).padStart(2, "0");
  return `0x60${length}80600b6000396000f3${code}`;
}

/** A transfer to be made. */
export interface Move {
  readonly from: string;
  readonly to: string;
  readonly value: bigint;
}

function word(hex: string): string {
  return hex.replace(/^0x/, "").padStart(64, "0");
}

function callData(moves: readonly Move[]): string {
  return `0x${moves.map(({ from, to, value }) => word(from) + word(to) + word(value.toString(16))).join("")}`;
}

/** An address that is nobody's but the test's. */
export function addressOf(number: number): string {
  return `0x${"a".repeat(8)}${number.toString(16).padStart(32, "0")}`;
}

/** A real chain of one's own, whose blocks are mined when the test says so. */
export class Anvil implements AsyncDisposable {
  readonly url: string;
  readonly chainId: number;
  readonly #process: DaemonProcess;
  #account = "";
  #coinbase = 0;

  private constructor(process: DaemonProcess, port: number, chainId: number) {
    this.#process = process;
    this.url = `http://127.0.0.1:${port}`;
    this.chainId = chainId;
  }

  /** @param history states that are kept, so that blocks can be taken back; 0 for a chain of very many blocks */
  static async start({ chainId = 31_337, history = 200 } = {}): Promise<Anvil> {
    const [port = 0] = await findFreePorts(1);
    const probe = async (): Promise<void> => {
      await askHttp(`http://127.0.0.1:${port}`, "POST");
    };
    const args = ["--port", String(port), "--chain-id", String(chainId), "--no-mining", "--silent", "--accounts", "1"];
    const daemon = new DaemonProcess("anvil", {
      program: anvilProgram(),
      // From Prague on, and with states that are kept, a block costs more the more there are before it.
      args: [
        ...args,
        "--gas-limit",
        "3000000000",
        "--hardfork",
        "london",
        ...(history === 0 ? ["--prune-history"] : ["--prune-history", String(history)]),
      ],
      env: {},
      probe,
    });
    await daemon.start();
    const anvil = new Anvil(daemon, port, chainId);
    [anvil.#account = ""] = await anvil.call<string[]>("eth_accounts");
    return anvil;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  /** Any method of JSON-RPC. */
  async call<T>(method: string, params: readonly unknown[] = []): Promise<T> {
    const response = await fetch(this.url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
    });
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- anvil's answers have the form that JSON-RPC gives them
    const { result, error } = (await response.json()) as { result: T; error?: { message: string } };
    if (error !== undefined) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  async head(): Promise<number> {
    return Number(await this.call<string>("eth_blockNumber"));
  }

  /** Mines so many blocks; what was sent before is in the first of them. */
  async mine(blocks = 1): Promise<void> {
    await this.call("evm_mine", []);
    if (blocks > 1) await this.call("anvil_mine", [`0x${(blocks - 1).toString(16)}`]);
  }

  /** Puts a token of its own on the chain. @returns its address */
  async deployToken(): Promise<string> {
    return await this.#deploy(TOKEN_INIT);
  }

  /** Puts a wallet on the chain that is a contract, with one owner for all time. @returns its address */
  async deployWallet(owner: string): Promise<string> {
    return await this.#deploy(walletInit(owner));
  }

  async #deploy(data: string): Promise<string> {
    const txHash = await this.call<string>("eth_sendTransaction", [{ from: this.#account, data, gas: "0x100000" }]);
    await this.mine();
    const { contractAddress, status } = await this.call<{ contractAddress: string; status: string }>(
      "eth_getTransactionReceipt",
      [txHash],
    );
    if (status !== "0x1") throw new Error("the contract was not deployed");
    return contractAddress.toLowerCase();
  }

  /** Sends one transaction with these transfers; the next block has it. @returns its hash */
  async send(token: string, moves: readonly Move[]): Promise<string> {
    return await this.call<string>("eth_sendTransaction", [
      {
        from: this.#account,
        to: token,
        data: callData(moves),
        gas: `0x${(60_000 + moves.length * 5_000).toString(16)}`,
      },
    ]);
  }

  /** A transaction as it was signed, to be sent again after a reorganisation. */
  async rawOf(txHash: string): Promise<string> {
    return await this.call<string>("eth_getRawTransactionByHash", [txHash]);
  }

  /**
   * Replaces the newest `depth` blocks by others, and one more so that the new chain is the longer one.
   * @param again signed transactions by the place of the new block (0 = the first one) that has them
   */
  async reorg(depth: number, again: Readonly<Record<number, readonly string[]>> = {}): Promise<void> {
    await this.call("anvil_rollback", [depth]);
    // What was in the blocks that are gone may have come back into the pool.
    await this.call("anvil_dropAllTransactions");
    this.#coinbase += 1;
    await this.call("anvil_setCoinbase", [addressOf(this.#coinbase)]);
    for (let place = 0; place <= depth; place += 1) {
      for (const raw of again[place] ?? []) await this.call("eth_sendRawTransaction", [raw]);
      await this.mine();
    }
  }
}
