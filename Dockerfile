# The image contains only the files that production needs: no development packages, tests or
# compiler. See docs/deployment.md.

FROM node:24-bookworm AS packages
WORKDIR /app
ENV NODE_ENV=production

# Only these files determine what is installed. They are copied first, so that a
# change to the server's code does not invalidate this layer. The media worker is
# downloaded or, if the download fails, built here with packages that the set-up
# installs.
COPY package.json package-lock.json ./
COPY scripts/run.mjs scripts/
COPY scripts/setup scripts/setup
RUN node scripts/run.mjs --setup-only
# The server needs the worker's binary, not its sources.
RUN find node_modules/mediasoup/worker -mindepth 1 -maxdepth 1 ! -name out -exec rm -rf {} +

# Builds the pages of the feature `stage`, with tools that only this build stage installs.
FROM packages AS pages
COPY tsconfig.json ./
COPY client client
COPY features/stage features/stage
RUN node scripts/run.mjs --start features/stage/build.ts

FROM node:24-bookworm-slim
# A worker built in the build stage `packages` needs Debian's libsrtp; a downloaded worker does not.
RUN apt-get update \
  && apt-get install -y --no-install-recommends libsrtp2-1 \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production

COPY --from=packages /app/node_modules node_modules
# Checks that the worker runs in this image: if mediasoup does not start it, it exits with code 41.
RUN node_modules/mediasoup/worker/out/Release/mediasoup-worker 2>/dev/null; test $? -eq 41
COPY . .
COPY --from=pages /app/features/stage/.built features/stage/.built
# Contains the data that must survive a crash. Mount a volume here if no Redis is configured.
RUN mkdir -p data && chown node:node data

USER node
EXPOSE 3030
# One port per media worker, UDP and TCP.
EXPOSE 10000-10063/udp
EXPOSE 10000-10063/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "scripts/healthcheck.ts"]
CMD ["node", "server.ts"]
