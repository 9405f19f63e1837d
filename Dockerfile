# Built in two stages, so that the image holds no compiler. State lives on a volume; secrets come from
# files under /run/secrets or from the environment (see "Going live" in README.md).
FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev

FROM node:22-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
RUN mkdir /data && chown node:node /data
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY page ./page
COPY migrations ./migrations
COPY proxy.config.json proxy.config.schema.json ./
USER node
VOLUME /data
EXPOSE 8787 8788
# /healthz says that the process lives; /readyz, for load balancers, that it takes calls.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8788/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
# node itself is process 1 and gets the signal: no shell, no npm in between.
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve", "--config", "/etc/kraken-signing-proxy/proxy.config.json"]
