# As node:24-bookworm-slim, as far as fula-master needs it: Debian, node, and the user `node`.
FROM scratch
ADD rootfs.tar /
COPY node /usr/local/bin/node
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --create-home node
CMD ["node"]
