/** A process that starts the embedded database on the folder given, says where it is and keeps it until it is killed. */
import { startEmbedded } from "../../src/embedded.js";

const [dataDir] = process.argv.slice(2);
if (dataDir === undefined || !process.send) throw new Error("Fork this file with a data folder as its argument.");
process.once("disconnect", () => process.exit()); // and until then the channel keeps it running
try {
  const { url } = await startEmbedded({ dataDir });
  process.send({ url });
} catch (error) {
  process.send({ error: error instanceof Error ? error.message : String(error) });
  process.disconnect();
}
