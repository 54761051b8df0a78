# A whole box of a master in one container, so that all of it can be killed, frozen or cut off at once: PostgreSQL's programs,
# Node.js, fula-master, and what starts `serve` at boot as an operator's service manager does.
ARG NODE_IMAGE
ARG MASTER_IMAGE
ARG POSTGRES_IMAGE
FROM ${NODE_IMAGE} AS node
FROM ${MASTER_IMAGE} AS master
FROM ${POSTGRES_IMAGE}
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=master /usr/local/lib/fula-master /usr/local/lib/fula-master
COPY box-boot.sh /usr/local/bin/box-boot
RUN ln -s ../lib/fula-master/bin/fula-master.js /usr/local/bin/fula-master && mkdir -m 0700 /opt/fula-master
ENV NODE_ENV=production FULA_MASTER_BASE_DIR=/opt/fula-master
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/box-boot"]
CMD []
