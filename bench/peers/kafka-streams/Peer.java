import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import com.sun.management.OperatingSystemMXBean;
import java.io.File;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowBytesStoreSupplier;
import org.apache.kafka.streams.state.WindowStore;

/**
 * The Kafka Streams contestant of `npm run bench -- runtime`; started by bench/runtime.ts with key=value arguments, prints one JSON line.
 *
 * Forms: `map` (mapValues); `device` (Processor API, one state per node, device and metric, a store read and write a sample); `cell` (Processor API, one
 * state per pool and metric, the samples of a record added up first, so a store read and write per cell of a record); `dsl` (groupByKey, windowedBy).
 * Values are Avro NodeBatches with their NodeLayout, read by Apache Avro's GenericDatumReader with reused objects, or JSON read by Jackson's streaming
 * parser. With `layout=cached` the decoded layout of a node is kept while its bytes are equal, as ours does; with `each` it is decoded a record.
 * Measured from `warm` records on to the last one, CPU of the whole process; the last record of each partition is a sentinel that closes what is open.
 */
public class Peer {
  static final Map<String, String> args = new HashMap<>();
  static final LongAdder records = new LongAdder(), samples = new LongAdder(), dropped = new LongAdder(), outs = new LongAdder();
  static long windowMs, graceMs;

  interface SampleSink { void sample(String device, String metric, String cell, double value); }

  /** What a node's layout and index columns say of each row: worked out once. */
  record Plan(ByteBuffer layout, ByteBuffer deviceIndex, ByteBuffer metricIndex, String[] device, String[] metric, String[] cell) {}

  interface Reader { long eventMs(byte[] value); void read(byte[] value, SampleSink sink); }

  static ByteBuffer copy(ByteBuffer b) { ByteBuffer c = ByteBuffer.allocate(b.remaining()); c.put(b.duplicate()).flip(); return c; }

  static final class AvroReader implements Reader {
    private static final int HEADER = 10; // C3 01 and the fingerprint of the writer's schema
    private final GenericDatumReader<GenericRecord> batches, layouts;
    private final int observedMs, node, layout, deviceIndex, metricIndex, value;
    private final Map<String, Plan> plans = new HashMap<>();
    private final boolean isCached = !"each".equals(args.get("layout"));
    private BinaryDecoder decoder, inner;
    private GenericRecord batch, layoutRecord;
    private byte[] last;

    AvroReader() throws Exception {
      Schema b = new Schema.Parser().parse(new File(args.get("schemas"), "node-batch.avsc")), l = new Schema.Parser().parse(new File(args.get("schemas"), "node-layout.avsc"));
      batches = new GenericDatumReader<>(b); layouts = new GenericDatumReader<>(l);
      observedMs = b.getField("observedMs").pos(); node = b.getField("node").pos(); layout = b.getField("layout").pos();
      deviceIndex = b.getField("deviceIndex").pos(); metricIndex = b.getField("metricIndex").pos(); value = b.getField("value").pos();
    }

    private void decode(byte[] bytes) {
      if (bytes == last) return;
      try {
        decoder = DecoderFactory.get().binaryDecoder(bytes, HEADER, bytes.length - HEADER, decoder);
        batch = batches.read(batch, decoder);
        last = bytes;
      } catch (Exception e) { throw new RuntimeException(e); }
    }

    public long eventMs(byte[] bytes) { decode(bytes); return (Long) batch.get(observedMs); }

    private Plan plan() throws Exception {
      ByteBuffer l = (ByteBuffer) batch.get(layout), d = (ByteBuffer) batch.get(deviceIndex), m = (ByteBuffer) batch.get(metricIndex);
      String name = batch.get(node).toString();
      Plan known = isCached ? plans.get(name) : null;
      if (known != null && known.layout.equals(l) && known.deviceIndex.equals(d) && known.metricIndex.equals(m)) return known;
      inner = DecoderFactory.get().binaryDecoder(l.array(), l.arrayOffset() + l.position(), l.remaining(), inner);
      layoutRecord = layouts.read(layoutRecord, inner);
      List<?> devices = (List<?>) layoutRecord.get("devices"), metrics = (List<?>) layoutRecord.get("metrics");
      int rows = d.remaining() / 2;
      String[] device = new String[rows], metric = new String[rows], cell = new String[rows];
      for (int i = 0; i < rows; i++) {
        GenericRecord dev = (GenericRecord) devices.get(Short.toUnsignedInt(d.duplicate().order(ByteOrder.LITTLE_ENDIAN).getShort(d.position() + 2 * i)));
        GenericRecord met = (GenericRecord) metrics.get(Short.toUnsignedInt(m.duplicate().order(ByteOrder.LITTLE_ENDIAN).getShort(m.position() + 2 * i)));
        metric[i] = met.get("name").toString();
        device[i] = name + '/' + dev.get("id") + '/' + metric[i];
        cell[i] = dev.get("pool").toString() + '/' + metric[i];
      }
      Plan made = new Plan(copy(l), copy(d), copy(m), device, metric, cell);
      if (isCached) plans.put(name, made);
      return made;
    }

    public void read(byte[] bytes, SampleSink sink) {
      try {
        decode(bytes);
        Plan p = plan();
        ByteBuffer values = ((ByteBuffer) batch.get(value)).duplicate().order(ByteOrder.LITTLE_ENDIAN);
        int at = values.position();
        for (int i = 0; i < p.device.length; i++) sink.sample(p.device[i], p.metric[i], p.cell[i], values.getDouble(at + 8 * i));
      } catch (Exception e) { throw new RuntimeException(e); }
    }
  }

  static final class JsonReader implements Reader {
    private static final JsonFactory JSON = new JsonFactory();

    public long eventMs(byte[] bytes) {
      try (JsonParser p = JSON.createParser(bytes)) {
        p.nextToken();
        for (String f; (f = p.nextFieldName()) != null; ) { p.nextToken(); if (f.equals("ts")) return p.getLongValue(); }
        throw new IllegalArgumentException("no ts");
      } catch (Exception e) { throw new RuntimeException(e); }
    }

    public void read(byte[] bytes, SampleSink sink) {
      try (JsonParser p = JSON.createParser(bytes)) {
        String node = null, pool = null;
        p.nextToken();
        for (String f; (f = p.nextFieldName()) != null; ) {
          p.nextToken();
          switch (f) {
            case "node" -> node = p.getText();
            case "pool" -> pool = p.getText();
            case "samples" -> {
              while (p.nextToken() == JsonToken.START_OBJECT) {
                String d = null, m = null; double v = 0;
                for (String g; (g = p.nextFieldName()) != null; ) { p.nextToken(); switch (g) { case "d" -> d = p.getText(); case "m" -> m = p.getText(); case "v" -> v = p.getDoubleValue(); default -> { } } }
                sink.sample(node + '/' + d + '/' + m, m, pool + '/' + m, v);
              }
            }
            default -> { }
          }
        }
      } catch (Exception e) { throw new RuntimeException(e); }
    }
  }

  static Reader reader() { try { return "json".equals(args.get("value")) ? new JsonReader() : new AvroReader(); } catch (Exception e) { throw new RuntimeException(e); } }

  /** count, sum, min, max */
  static byte[] add(byte[] old, long count, double sum, double min, double max) {
    ByteBuffer b = ByteBuffer.allocate(32);
    if (old == null) b.putLong(count).putDouble(sum).putDouble(min).putDouble(max);
    else { ByteBuffer o = ByteBuffer.wrap(old); b.putLong(o.getLong() + count).putDouble(o.getDouble() + sum).putDouble(Math.min(o.getDouble(), min)).putDouble(Math.max(o.getDouble(), max)); }
    return b.array();
  }

  static final class Sum { long count; double sum, min, max; }

  /** One watermark per input partition, windows forwarded once it has passed end and grace: nothing of a partition read behind is late. */
  static final class Aggregate implements Processor<String, byte[], String, byte[]> {
    private final Reader reader = reader();
    private final boolean isByCell = args.get("form").equals("cell");
    private final Map<String, Sum> sums = new LinkedHashMap<>();
    private WindowStore<String, byte[]> store;
    private ProcessorContext<String, byte[]> context;
    private long maxMs = Long.MIN_VALUE, closed = Long.MIN_VALUE;

    @Override public void init(ProcessorContext<String, byte[]> c) { context = c; store = c.getStateStore("w"); }

    @Override public void process(Record<String, byte[]> r) {
      long ms = reader.eventMs(r.value()), w = ms - Math.floorMod(ms, windowMs);
      if (ms > maxMs) maxMs = ms;
      if (w + windowMs + graceMs <= maxMs) reader.read(r.value(), (d, m, c, v) -> dropped.increment());
      else if (isByCell) {
        reader.read(r.value(), (d, m, c, v) -> {
          Sum s = sums.computeIfAbsent(c, x -> new Sum());
          if (s.count++ == 0) { s.sum = s.min = s.max = v; } else { s.sum += v; if (v < s.min) s.min = v; if (v > s.max) s.max = v; }
          samples.increment();
        });
        for (Map.Entry<String, Sum> e : sums.entrySet()) {
          Sum s = e.getValue();
          if (s.count == 0) continue;
          store.put(e.getKey(), add(store.fetch(e.getKey(), w), s.count, s.sum, s.min, s.max), w);
          s.count = 0;
        }
      } else reader.read(r.value(), (d, m, c, v) -> { store.put(d, add(store.fetch(d, w), 1, v, v, v), w); samples.increment(); });
      records.increment();
      long upTo = Math.floorDiv(maxMs - graceMs, windowMs) * windowMs - windowMs;
      if (upTo <= closed) return;
      long from = closed == Long.MIN_VALUE ? upTo - 10 * windowMs : closed + windowMs;
      try (KeyValueIterator<Windowed<String>, byte[]> it = store.fetchAll(from, upTo)) {
        while (it.hasNext()) {
          KeyValue<Windowed<String>, byte[]> e = it.next();
          context.forward(new Record<>(e.key.key() + '@' + e.key.window().start(), e.value, r.timestamp()));
          outs.increment();
        }
      }
      closed = upTo;
    }
  }

  static StreamsBuilder topology() {
    StreamsBuilder b = new StreamsBuilder();
    String topic = args.get("topic"), out = args.get("out"), form = args.get("form");
    if (form.equals("map")) {
      b.stream(topic, Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .mapValues(v -> { byte[] w = v.clone(); w[0] ^= 1; records.increment(); return w; })
        .to(out, Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
      return b;
    }
    Duration kept = Duration.ofMillis(windowMs * 6), size = Duration.ofMillis(windowMs);
    WindowBytesStoreSupplier supplier = args.get("store").equals("mem") ? Stores.inMemoryWindowStore("w", kept, size, false) : Stores.persistentWindowStore("w", kept, size, false);
    if (!form.equals("dsl")) {
      StoreBuilder<WindowStore<String, byte[]>> store = Stores.windowStoreBuilder(supplier, Serdes.String(), Serdes.ByteArray());
      b.addStateStore("off".equals(args.get("cache")) ? store : store.withCachingEnabled());
      b.stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray())).process(Aggregate::new, "w").to(out, Produced.with(Serdes.String(), Serdes.ByteArray()));
      return b;
    }
    // The new key sends every sample through a repartition topic.
    Materialized<String, byte[], WindowStore<Bytes, byte[]>> store = Materialized.<String, byte[]>as(supplier).withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()).withCachingEnabled();
    ThreadLocal<Reader> extractor = ThreadLocal.withInitial(Peer::reader), mapper = ThreadLocal.withInitial(Peer::reader);
    b.stream(topic, Consumed.with(Serdes.String(), Serdes.ByteArray()).withTimestampExtractor((r, before) -> extractor.get().eventMs((byte[]) r.value())))
      .flatMap((node, v) -> {
        List<KeyValue<String, Double>> list = new ArrayList<>(32);
        mapper.get().read(v, (d, m, c, x) -> list.add(new KeyValue<>(d, x)));
        records.increment();
        return list;
      })
      .groupByKey(Grouped.with(Serdes.String(), Serdes.Double()))
      .windowedBy(TimeWindows.ofSizeAndGrace(size, Duration.ofMillis(graceMs)))
      .emitStrategy(EmitStrategy.onWindowClose())
      .aggregate(() -> null, (k, v, old) -> { samples.increment(); return add(old, 1, v, v, v); }, store)
      .toStream((k, v) -> k.key() + '@' + k.window().start()).peek((k, v) -> outs.increment())
      .to(out, Produced.with(Serdes.String(), Serdes.ByteArray()));
    return b;
  }

  static double sent(KafkaStreams streams) {
    double sum = 0;
    for (var e : streams.metrics().entrySet()) if (e.getKey().name().equals("record-send-total") && e.getKey().group().equals("producer-metrics")) sum += (Double) e.getValue().metricValue();
    return sum;
  }

  static long peakKb() throws Exception {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) if (line.startsWith("VmHWM")) return Long.parseLong(line.replaceAll("\\D", ""));
    return 0;
  }

  public static void main(String[] argv) throws Exception {
    for (String a : argv) args.put(a.substring(0, a.indexOf('=')), a.substring(a.indexOf('=') + 1));
    long want = Long.parseLong(args.get("records")), warm = Long.parseLong(args.get("warm")), rows = Long.parseLong(args.getOrDefault("samples", "0"));
    windowMs = Long.parseLong(args.getOrDefault("windowMs", "0")); graceMs = Long.parseLong(args.getOrDefault("graceMs", "0"));
    boolean isMap = args.get("form").equals("map"), isDsl = args.get("form").equals("dsl");
    Properties p = new Properties();
    p.put("application.id", args.get("id")); p.put("bootstrap.servers", args.get("bootstrap")); p.put("num.stream.threads", "1"); p.put("state.dir", args.get("state"));
    p.put("auto.offset.reset", "earliest"); p.put("replication.factor", "1"); p.put("commit.interval.ms", args.getOrDefault("commitMs", "30000"));
    KafkaStreams streams = new KafkaStreams(topology().build(), p);
    streams.setUncaughtExceptionHandler(e -> { e.printStackTrace(); return StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse.SHUTDOWN_CLIENT; });
    OperatingSystemMXBean os = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    streams.start();
    long started = System.nanoTime(), fromNs = 0, fromCpu = 0, from = 0, last = -1, lastNs = started, endNs, endCpu;
    for (;;) {
      Thread.sleep(5);
      long done = records.sum(), now = System.nanoTime();
      if (fromNs == 0 && done >= warm) { fromNs = now; fromCpu = os.getProcessCpuTime(); from = done; }
      // Of the DSL the second half, behind the repartition topic, says when all is done: what is late never comes, so it ends when nothing more does.
      long progress = isDsl ? samples.sum() : done;
      if (progress != last) { last = progress; lastNs = now; endCpu = os.getProcessCpuTime(); }
      boolean isDone = done >= want && (isMap ? sent(streams) >= want : !isDsl || samples.sum() >= rows || now - lastNs > 5_000_000_000L);
      if (isDone) { endNs = isDsl ? lastNs : now; endCpu = os.getProcessCpuTime(); break; }
      if (streams.state() == KafkaStreams.State.ERROR || streams.state() == KafkaStreams.State.NOT_RUNNING) throw new IllegalStateException("Kafka Streams stopped");
      if (now - lastNs > 60_000_000_000L) throw new IllegalStateException("nothing was processed for 60 s, " + done + " of " + want + " records are done");
    }
    streams.close(Duration.ofSeconds(30));
    System.out.printf(Locale.ROOT, "{\"records\":%d,\"measured\":%d,\"wallMs\":%.1f,\"cpuMs\":%.1f,\"samples\":%d,\"dropped\":%d,\"outs\":%d,\"peakKb\":%d}%n",
      records.sum(), want - from, (endNs - fromNs) / 1e6, (endCpu - fromCpu) / 1e6, samples.sum(), isDsl ? rows - samples.sum() : dropped.sum(), outs.sum(), peakKb());
    System.exit(0);
  }
}
