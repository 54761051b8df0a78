import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { signToken } from "./api.ts";
import { type ClusterPeer, startCluster } from "./cluster-processes.ts";
import { makeServingBox, type ServingBox, startTestServer, type TestServer } from "./serving.ts";

/** A serving master on a real Kubo and a real peer of IPFS Cluster, for clients of the pinning service. */
export interface PinningBox extends AsyncDisposable {
  readonly box: ServingBox;
  readonly server: TestServer;
  readonly peer: ClusterPeer;
  /** `http://127.0.0.1:<port>`, without `/pins`. */
  readonly endpoint: string;
  /** A token of a user. */
  tokenOf(user: string): Promise<string>;
}

/** Starts one. @param settings of the API and of the pinning service */
export async function startPinningBox(settings: { readonly api?: object } = {}): Promise<PinningBox> {
  const opened = new AsyncDisposableStack();
  try {
    const daemons = opened.use(await startCluster([{ name: "writer" }]));
    const peer = daemons.peer("writer");
    const box = opened.use(
      await makeServingBox({
        blocks: { mode: "kubo", kuboApi: peer.kubo.apiAddress },
        cluster: { mode: "rest", api: peer.api, replicationMin: 1, replicationMax: 1 },
        ...settings,
      }),
    );
    const server = opened.use(await startTestServer(box));
    return {
      box,
      server,
      peer,
      endpoint: `http://127.0.0.1:${box.ports.api}`,
      tokenOf: async (user) =>
        await signToken(box.secrets["JWT_SECRET"] ?? "", { sub: resolveUserId(user), scope: "storage:*" }),
      [Symbol.asyncDispose]: async () => await opened.disposeAsync(),
    };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}
