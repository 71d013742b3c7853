/** The bytes of a Parquet file on their way to the disk. */
import type { SchemaElement } from 'hyparquet'
import { ByteWriter, ParquetWriter } from 'hyparquet-writer'
import type { FileHandle } from 'node:fs/promises'

/** A writer of row groups into an open, empty file. */
export function openParquetFile(handle: FileHandle, schema: SchemaElement[]): ParquetWriter {
  return new ParquetWriter({ writer: new FileByteWriter(handle), schema, createdBy: 'sidestream' })
}

/** Collects bytes and gives them to the file after each row group. */
class FileByteWriter extends ByteWriter {
  readonly #handle: FileHandle

  constructor(handle: FileHandle) {
    super(1 << 16)
    this.#handle = handle
  }

  async flush(): Promise<void> {
    const bytes = new Uint8Array(this.buffer, 0, this.index)
    for (let done = 0; done < bytes.byteLength;) done += (await this.#handle.write(bytes, done)).bytesWritten
    this.index = 0
  }

  override async finish(): Promise<void> {
    await this.flush()
  }
}
