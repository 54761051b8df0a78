# As ipfs/kubo: the program in /usr/local/bin, the repository in a volume of user 1000, group 100.
ARG BUSYBOX
FROM ${BUSYBOX}
COPY ipfs /usr/local/bin/ipfs
RUN mkdir -p /data/ipfs && chown 1000:100 /data/ipfs
ENV IPFS_PATH=/data/ipfs
VOLUME /data/ipfs
EXPOSE 4001 4001/udp 5001 8080
ENTRYPOINT ["/usr/local/bin/ipfs"]
CMD ["daemon", "--migrate=true"]
