/** The thread that reads a workbook; started by readWorkbook.ts only. Whatever a file makes it do, the process goes on. */
import { parentPort, workerData } from "node:worker_threads";
import { Unzip, UnzipInflate } from "fflate";
import readExcelFile from "read-excel-file/node";
import { type Catalogue, readCatalogue, type Region } from "./catalogueRows.js";

/** What the thread is given. */
export interface WorkbookOrder {
  file: Uint8Array;
  region: Region;
}

/** What it says. The sheets themselves stay here: a text that many cells share would be copied for each. */
export type WorkbookReport = Catalogue | { problem: string };

/** The published catalogue has a thousand rows. */
const mostRows = 20_000;

/** A published catalogue unpacks to one megabyte. */
const mostBytes = 64 * 1024 * 1024;

/** Refuses what would unpack to more, whatever its headers say. */
function checkSize(file: Uint8Array): void {
  let bytes = 0;
  const unzip = new Unzip((entry) => {
    entry.ondata = (error, chunk) => {
      if (error) throw error;
      bytes += chunk.length;
      if (bytes > mostBytes) throw new Error(`it unpacks to more than ${mostBytes / 1024 / 1024} MB`);
    };
    entry.start();
  });
  unzip.register(UnzipInflate);
  for (let start = 0; start < file.length; start += 65_536) {
    unzip.push(file.subarray(start, start + 65_536), start + 65_536 >= file.length);
  }
}

function textOf(cell: unknown): string | null {
  if (cell === null || cell === undefined) return null;
  return cell instanceof Date ? cell.toISOString() : typeof cell === "string" ? cell : JSON.stringify(cell);
}

async function read({ file, region }: WorkbookOrder): Promise<WorkbookReport> {
  try {
    checkSize(file);
    // Numbers stay as they are written, so that a price never is a float.
    const sheets = await readExcelFile(Buffer.from(file), { parseNumber: (text: string) => text, trim: false });
    const rows = sheets.reduce((sum, { data }) => sum + data.length, 0);
    if (rows > mostRows) return { problem: `it has more than ${mostRows} rows` };
    return readCatalogue(
      sheets.map(({ sheet, data }) => ({ sheet, data: data.map((row) => row.map(textOf)) })),
      region,
    );
  } catch (error) {
    return { problem: error instanceof Error ? error.message : "it can't be read" };
  }
}

parentPort?.postMessage(await read(workerData as WorkbookOrder));
