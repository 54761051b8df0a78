import { expect, test } from "vitest";
import { findFreePort } from "../../support/free-port.ts";
import { makeServingBox, startTestServer } from "../../support/serving.ts";

test("serve refuses to start where its blocks are to lie on a Kubo that does not answer", async () => {
  const port = await findFreePort();
  await using box = await makeServingBox({
    blocks: { mode: "kubo", kuboApi: `/ip4/127.0.0.1/tcp/${port}` },
    cluster: { mode: "rest", api: `/ip4/127.0.0.1/tcp/${port}` },
  });
  await expect(startTestServer(box)).rejects.toMatchObject({
    code: "FULA_KUBO_UNREACHABLE",
    message: expect.stringContaining(`http://127.0.0.1:${port}`),
  });
});
