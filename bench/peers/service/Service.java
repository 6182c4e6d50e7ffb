import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.concurrent.locks.LockSupport;

/**
 * The service that the tasks of `npm run bench -- runtime` call: a byte that it is sent comes back `delayMs` later. One call at once on a connection, a thread
 * for each. Its argument is `delayMs=`; prints its port, ends when its input does.
 */
public class Service {
  static void serve(Socket socket, long delayNs) {
    try (socket) {
      socket.setTcpNoDelay(true);
      InputStream in = socket.getInputStream();
      OutputStream out = socket.getOutputStream();
      for (int asked; (asked = in.read()) >= 0; out.write(asked)) {
        long dueNs = System.nanoTime() + delayNs;
        for (long leftNs; (leftNs = dueNs - System.nanoTime()) > 0; ) LockSupport.parkNanos(leftNs);
      }
    } catch (IOException ended) {
      // The caller has gone.
    }
  }

  public static void main(String[] argv) throws Exception {
    long delayNs = (long) (Double.parseDouble(argv[0].substring("delayMs=".length())) * 1e6);
    ServerSocket server = new ServerSocket(0, 200, InetAddress.getLoopbackAddress());
    System.out.println(server.getLocalPort());
    Thread acceptor = new Thread(() -> {
      try {
        for (;;) {
          Socket socket = server.accept();
          Thread thread = new Thread(() -> serve(socket, delayNs));
          thread.setDaemon(true);
          thread.start();
        }
      } catch (IOException e) {
        throw new RuntimeException(e);
      }
    });
    acceptor.setDaemon(true);
    acceptor.start();
    while (System.in.read() >= 0) {}
    System.exit(0);
  }
}
