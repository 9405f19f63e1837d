import { crc32, deflateRawSync } from 'node:zlib';

/** A zip archive of one deflated file (PKWARE APPNOTE 4.3), as RetrieveExport sends it. */
export function zipOf(fileName: string, content: Buffer): Buffer {
  const name = Buffer.from(fileName);
  const packed = deflateRawSync(content);

  // The fields that the local header and the central directory share (APPNOTE 4.3.7, from "version needed").
  const shared = Buffer.alloc(26);
  shared.writeUInt16LE(20, 0); // version needed: 2.0, deflate
  shared.writeUInt16LE(8, 4); // method: deflate
  shared.writeUInt16LE(0x21, 8); // date: 1980-01-01, the archive's smallest
  shared.writeUInt32LE(crc32(content), 10);
  shared.writeUInt32LE(packed.length, 14);
  shared.writeUInt32LE(content.length, 18);
  shared.writeUInt16LE(name.length, 22);

  const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), shared, name, packed]);
  const versionMadeBy = Buffer.from([20, 0]);
  // Comment length, disk, attributes and the local header's offset: all zero.
  const rest = Buffer.alloc(14);
  const directory = Buffer.concat([Buffer.from('PK\x01\x02', 'latin1'), versionMadeBy, shared, rest, name]);

  const end = Buffer.alloc(22);
  end.write('PK\x05\x06', 0, 'latin1');
  end.writeUInt16LE(1, 8); // entries on this disk
  end.writeUInt16LE(1, 10); // entries in all
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(local.length, 16);
  return Buffer.concat([local, directory, end]);
}
