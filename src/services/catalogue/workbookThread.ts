/** The thread that reads a workbook; started by readWorkbook.ts only. Whatever a file makes it do, the process goes on. */
import { parentPort, workerData } from "node:worker_threads";
import { Unzip, UnzipInflate } from "fflate";
import readExcelFile from "read-excel-file/node";
import { type Sheet } from "./catalogueRows.js";

/** What the thread says. */
export type WorkbookReport = { sheets: Sheet[] } | { problem: string };

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

async function read(file: Uint8Array): Promise<WorkbookReport> {
  try {
    checkSize(file);
    // Numbers stay as they are written, so that a price never is a float.
    const sheets = await readExcelFile(Buffer.from(file), { parseNumber: (text: string) => text, trim: false });
    return { sheets: sheets.map(({ sheet, data }) => ({ sheet, data: data.map((row) => row.map(textOf)) })) };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : "it can't be read" };
  }
}

parentPort?.postMessage(await read(workerData as Uint8Array));
