// Preloaded into Portkey's gateway, which would listen on every interface: whatever it opens, it opens on loopback.
const { Server } = require("node:net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...rest) {
  const port = Number(typeof where === "object" ? where.port : where);
  return listen.call(this, { port, host: "127.0.0.1" }, rest.find((one) => typeof one === "function"));
};
