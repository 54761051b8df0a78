# As ipfs/ipfs-cluster: both programs in /usr/local/bin, the state in a volume of user 1000, group 100.
ARG BUSYBOX
FROM ${BUSYBOX}
COPY ipfs-cluster-service ipfs-cluster-ctl /usr/local/bin/
RUN mkdir -p /data/ipfs-cluster && chown 1000:100 /data/ipfs-cluster
ENV IPFS_CLUSTER_PATH=/data/ipfs-cluster IPFS_CLUSTER_CONSENSUS=crdt
VOLUME /data/ipfs-cluster
EXPOSE 9094 9096
ENTRYPOINT ["/usr/local/bin/ipfs-cluster-service"]
CMD ["daemon"]
