# The image of every Sluice service: the checkout and its production dependencies on Node 26. No build step.
FROM node:26-bookworm-slim
# The Node binary of this line needs libatomic1, which slim images leave out.
RUN command -v ldconfig >/dev/null && ldconfig -p | grep -q libatomic.so.1 || (apt-get update && apt-get install -y --no-install-recommends libatomic1 && rm -rf /var/lib/apt/lists/*)
WORKDIR /app
COPY package.json package-lock.json ./
# Optional packages too: lz4, snappy and the checksum are native. Not the platform packages of Node: the image has its own.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund && rm -rf node_modules/node-linux-* node_modules/.bin/node
COPY bin bin
COPY index.ts ./
COPY schemas schemas
COPY streams streams
COPY functions functions
COPY infra infra
COPY cli cli
COPY policy policy
# A new volume mounted at one of these takes over its ownership.
RUN mkdir -p /var/lib/sluice /run/secrets/pseudonyms /run/secrets/destination && chown 1000:1000 /var/lib/sluice /run/secrets/*
USER 1000:1000
ENTRYPOINT ["/app/bin/sluice"]
CMD ["--help"]
