# sidestream's command line: docker build -t sidestream . && docker run --rm sidestream --help
# Debian, not Alpine: ONNX Runtime's binaries need glibc.
FROM node:20.20.2-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY . .
RUN npm run build && npm prune --omit=dev --no-audit --no-fund

FROM node:20.20.2-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# A volume mounted here is owned by the user below.
RUN mkdir -p /var/lib/sidestream && chown node:node /var/lib/sidestream
USER node
ENTRYPOINT ["node", "/app/dist/cli/main.js"]
CMD ["--help"]
