import { describeRootPointer } from "../../../contract/root-pointer.contract.ts";
import { MemoryRoots } from "../../../support/memory-roots.ts";

describeRootPointer("the arbiter in memory", async () => {
  const roots = new MemoryRoots();
  return await Promise.resolve({
    stores: [roots],
    queue: async () => await Promise.resolve([...roots.garbage.keys()].toSorted()),
    commits: async (bucket) =>
      await Promise.resolve(
        roots.commits
          .filter((commit) => commit.bucket === bucket)
          .map(({ version, root, commitId }) => [version, root, commitId] as const),
      ),
    close: async () => {
      await Promise.resolve();
    },
  });
});
