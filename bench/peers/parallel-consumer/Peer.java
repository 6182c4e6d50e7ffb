import com.sun.management.OperatingSystemMXBean;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * The Parallel Consumer contestant of `npm run bench -- runtime`; started by bench/runtime.ts with key=value arguments, prints one JSON line.
 *
 * Key order, `concurrency` user functions at once (one thread each, as the core module has it), each sleeping `effectMs` or, with `servicePort`, calling
 * the service of bench/peers/service. Its other settings are the defaults. Measured from `warm` records on to the last one, CPU of the whole process.
 */
public class Peer {
  /** Calls of bench/peers/service: a connection for each thread that calls, as long as it lives. */
  static class Service {
    private final ThreadLocal<Socket> connections;

    Service(int port) {
      connections = ThreadLocal.withInitial(() -> {
        try {
          Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
          socket.setTcpNoDelay(true);
          return socket;
        } catch (IOException e) {
          throw new UncheckedIOException(e);
        }
      });
    }

    void call() throws IOException {
      Socket socket = connections.get();
      socket.getOutputStream().write(1);
      if (socket.getInputStream().read() < 0) throw new IOException("the service has gone");
    }
  }

  static long peakKb() throws Exception {
    for (String line : Files.readAllLines(Path.of("/proc/self/status"))) if (line.startsWith("VmHWM")) return Long.parseLong(line.replaceAll("\\D", ""));
    return 0;
  }

  public static void main(String[] argv) throws Exception {
    Map<String, String> args = new HashMap<>();
    for (String a : argv) args.put(a.substring(0, a.indexOf('=')), a.substring(a.indexOf('=') + 1));
    long want = Long.parseLong(args.get("records")), warm = Long.parseLong(args.get("warm")), effectMs = Long.parseLong(args.get("effectMs"));
    Properties p = new Properties();
    p.put("bootstrap.servers", args.get("bootstrap")); p.put("group.id", args.get("id")); p.put("auto.offset.reset", "earliest"); p.put("enable.auto.commit", "false");
    Service service = args.containsKey("servicePort") ? new Service(Integer.parseInt(args.get("servicePort"))) : null;
    LongAdder records = new LongAdder(), effectNs = new LongAdder();
    ParallelStreamProcessor<byte[], byte[]> processor = ParallelStreamProcessor.createEosStreamProcessor(
      ParallelConsumerOptions.<byte[], byte[]>builder()
        .ordering(ProcessingOrder.KEY).maxConcurrency(Integer.parseInt(args.get("concurrency")))
        .consumer(new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer())).build());
    processor.subscribe(List.of(args.get("topic")));
    OperatingSystemMXBean os = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    processor.poll(context -> {
      long begun = System.nanoTime();
      try {
        if (service == null) Thread.sleep(effectMs); else service.call();
      } catch (InterruptedException | IOException e) { throw new RuntimeException(e); }
      effectNs.add(System.nanoTime() - begun);
      records.increment();
    });
    long fromNs = 0, fromCpu = 0, from = 0, fromEffectNs = 0, last = -1, lastNs = System.nanoTime();
    for (;;) {
      Thread.sleep(5);
      long done = records.sum(), now = System.nanoTime();
      if (fromNs == 0 && done >= warm) { fromNs = now; fromCpu = os.getProcessCpuTime(); from = done; fromEffectNs = effectNs.sum(); }
      if (done >= want) break;
      if (done != last) { last = done; lastNs = now; }
      if (now - lastNs > 60_000_000_000L) throw new IllegalStateException("nothing was processed for 60 s, " + done + " of " + want + " records are done");
    }
    long endNs = System.nanoTime(), endCpu = os.getProcessCpuTime();
    double effectsMs = (effectNs.sum() - fromEffectNs) / 1e6 / (records.sum() - from);
    processor.close();
    System.out.printf(Locale.ROOT, "{\"records\":%d,\"measured\":%d,\"wallMs\":%.1f,\"cpuMs\":%.1f,\"samples\":0,\"dropped\":0,\"outs\":0,\"peakKb\":%d,\"effectMs\":%.3f}%n",
      records.sum(), want - from, (endNs - fromNs) / 1e6, (endCpu - fromCpu) / 1e6, peakKb(), effectsMs);
    System.exit(0);
  }
}
